//! What Asterisk lists, whole where it can write that, else one by one.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::error::Error;
use super::model::Application;
use super::request::{Rendered, Request, one_of};
use super::shared::Shared;

/// A list may be long: it gets this many times a request's deadline.
const LIST_PATIENCE: u32 = 5;
/// How many requests are under way where a list is asked for one by one.
const ONE_BY_ONE_AT_ONCE: usize = 16;

/// What Asterisk lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// What it tells.
    pub told: Vec<T>,
    /// Ids of what is there and of which it can tell nothing: some text of it is no UTF-8, which JSON has no way to say.
    pub untold: Vec<String>,
}

impl Shared {
    /// A collection as it is listed, else one by one.
    pub(super) async fn list<T>(
        &self,
        kind: &'static str,
        collection: &str,
        known: impl FnOnce() -> Vec<String>,
        of: fn(Application) -> Vec<String>,
    ) -> Result<Listing<T>, Error>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        match self.whole(kind, collection).await {
            Err(Error::Rejected { status: 500, .. }) => self.one_by_one(collection, known(), of).await,
            list => Ok(Listing { told: list?, untold: Vec::new() }),
        }
    }

    /// The objects of our applications and those that are known, each by a request of its own.
    async fn one_by_one<T>(
        &self,
        collection: &str,
        known: Vec<String>,
        of: fn(Application) -> Vec<String>,
    ) -> Result<Listing<T>, Error>
    where
        T: serde::de::DeserializeOwned,
    {
        let mut ids: BTreeSet<String> = known.into_iter().collect();
        for app in &self.apps {
            // An application that is not there says nothing about its channels: what is not listed would be taken for gone.
            ids.extend(of(self.ask(&Request::GetApplication { app: app.name() }.render()).await?.json()?));
        }
        let ask = |id: String| async move {
            let request = Rendered::get("get_one", one_of(collection, &id));
            let answer = self.ask(&request).await;
            (id, answer)
        };
        let mut answers = stream::iter(ids).map(ask).buffered(ONE_BY_ONE_AT_ONCE);
        let mut listing = Listing { told: Vec::new(), untold: Vec::new() };
        while let Some((id, answer)) = answers.next().await {
            match answer {
                // What it cannot write it answers with nothing, and 200 (22.10.1). 500 may be any trouble, of a good channel, too.
                Ok(answer) if answer.is_empty() => listing.untold.push(id),
                Ok(answer) => listing.told.push(answer.json()?),
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listing)
    }

    async fn whole<T>(&self, kind: &'static str, path: &str) -> Result<Vec<T>, Error>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let timeout = self.request_timeout() * LIST_PATIENCE;
        self.http().list(&Rendered::get(kind, path.to_owned()), timeout).await
    }
}
