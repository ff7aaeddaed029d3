//! Which calls a request is about: the same parameters on the list, the summary and the export, said once.

use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::error::ParseParamError;
use poem_openapi::registry::{MetaOperationParam, MetaParamIn};
use poem_openapi::types::{ParseFromParameter, Type};

use super::error::{ApiError, FieldError};
use crate::auth::principal::Principal;
use crate::auth::roles::Reach;
use crate::calls::ending::Ending;
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};
use crate::store::calls::Filter;

/// Declares the parameters: what is read of a request, and what the document says of each.
macro_rules! parameters {
    ($(#[doc = $doc:literal] $name:ident: $type:ty;)+) => {
        /// The filters as they were sent; all that are given must hold.
        #[derive(Debug, Default)]
        pub(super) struct CallFilter { $($name: Option<$type>),+ }

        impl CallFilter {
            fn read(query: &[(String, String)]) -> Result<Self, ParseParamError> {
                Ok(Self { $($name: parameter(stringify!($name), query)?),+ })
            }

            /// The parameters as the document has them.
            pub(super) fn parameters() -> Vec<MetaOperationParam> {
                vec![$(MetaOperationParam {
                    name: stringify!($name).to_owned(),
                    schema: <Option<$type> as Type>::schema_ref(),
                    in_type: MetaParamIn::Query,
                    description: Some($doc.trim().to_owned()),
                    required: false,
                    deprecated: false,
                    explode: true,
                    style: None,
                }),+]
            }
        }
    };
}

parameters! {
    /// Arrived then or later (RFC 3339 with offset).
    from: DateTime<Utc>;
    /// Arrived before then (RFC 3339 with offset).
    to: DateTime<Utc>;
    /// The number dialled, in E.164.
    did: String;
    /// Row id of the DID.
    did_id: i64;
    /// Who called, in E.164. Withheld callers are never found by it.
    caller: String;
    /// Owner of the DID at the time.
    seller_id: i64;
    /// The campaign.
    campaign_id: i64;
    /// A client that was dialled, whether or not it answered.
    client_id: i64;
    /// A link that was dialled, whether or not it answered.
    link_id: i64;
    /// Why the call ended.
    ending: String;
    /// Whether a client answered, as is known: a call that only may have been answered is not one that was.
    answered: bool;
    /// Talk time at least, in milliseconds. By `talk_min_ms`: what is certain.
    min_talk_ms: i64;
}

/// One parameter; what is wrong with it is told as of any other parameter.
fn parameter<T: ParseFromParameter>(
    name: &'static str,
    query: &[(String, String)],
) -> Result<Option<T>, ParseParamError> {
    let values = query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    <Option<T>>::parse_from_parameters(values).map_err(|error| ParseParamError { name, reason: error.into_message() })
}

impl<'a> FromRequest<'a> for CallFilter {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let query: Vec<(String, String)> =
            request.params().map_err(|_| ApiError::malformed("The query of the URL cannot be read."))?;
        Ok(Self::read(&query)?)
    }
}

impl CallFilter {
    /// The filter for what `principal` may see.
    pub(super) fn of(self, principal: &Principal, reach: Reach) -> Result<Filter, ApiError> {
        self.check()?;
        Ok(Filter {
            owner: (reach != Reach::All).then_some(principal.user),
            from: self.from,
            to: self.to,
            seller: self.seller_id.map(UserId),
            did: self.did_id.map(DidId),
            dialled: self.did.map(|number| with_plus(&number)),
            caller: self.caller.map(|number| with_plus(&number)),
            campaign: self.campaign_id.map(CampaignId),
            client: self.client_id.map(ClientId),
            link: self.link_id.map(LinkId),
            ending: self.ending,
            answered: self.answered,
            min_talk_ms: self.min_talk_ms,
        })
    }

    fn check(&self) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        if let Some(ending) = &self.ending
            && let Err(why) = Ending::from_str(ending)
        {
            errors.push(FieldError::new("ending", "value", why));
        }
        errors.extend([("from", self.from), ("to", self.to)].into_iter().filter_map(unstorable));
        if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            errors.push(FieldError::new("to", "range", "must not lie before from"));
        }
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
    }
}

/// Outside this no call can lie, and PostgreSQL's calendar ends before chrono's does.
pub(super) fn storable(time: DateTime<Utc>) -> bool {
    (1970..=9999).contains(&time.year())
}

/// What is wrong with a time that is not [`storable`].
pub(super) fn unstorable((field, time): (&'static str, Option<DateTime<Utc>>)) -> Option<FieldError> {
    let is_outside = time.is_some_and(|time| !storable(time));
    is_outside.then(|| FieldError::new(field, "range", "use a year from 1970 to 9999"))
}

/// A `+` that was not percent-encoded arrives as a space.
fn with_plus(number: &str) -> String {
    number.strip_prefix(' ').map_or_else(|| number.to_owned(), |digits| format!("+{digits}"))
}
