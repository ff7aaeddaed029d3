//! What all operations have in common is put around them here, in the running service and in the OpenAPI document alike: keys of
//! repeated requests, bounded guesses, ETags, bounds of texts and lists, and the name that their latency is measured under.

use std::collections::HashMap;
use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{Endpoint, EndpointExt as _, Request, Response, Result};
use poem_openapi::registry::{MetaApi, MetaOperation, Registry};
use poem_openapi::{OpenApi, OperationId};

use super::error::ApiError;
use super::security::Known;
use super::{State, answers, body, bounds, guesses, idempotency, rights, twice, versions};
use crate::auth::roles::Operation;

/// Nouns of the API with all that is put around their operations.
pub(super) struct Guarded<T>(pub(super) T);

impl<T: OpenApi> OpenApi for Guarded<T> {
    fn meta() -> Vec<MetaApi> {
        let registry = registry::<T>();
        let mut apis = T::meta();
        for operation in apis.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations) {
            let facts = Facts::of(operation, &registry);
            if facts.versioned {
                versions::document(operation);
            }
            if facts.keyed.is_some() {
                operation.params.push(idempotency::parameter());
                for response in &mut operation.responses.responses {
                    if response.status.is_some_and(|status| (200..300).contains(&status)) {
                        response.headers.push(idempotency::replayed_header());
                    }
                }
            }
        }
        apis
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
        bounds::register(registry, &T::meta());
    }

    fn add_routes(self, table: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let registry = registry::<T>();
        let mut facts = HashMap::new();
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            for operation in path.operations {
                facts.insert((shape(&path.path), operation.method.clone()), Facts::of(&operation, &registry));
            }
        }
        let mut own = HashMap::new();
        self.0.add_routes(&mut own);
        for (path, methods) in own {
            let shape = shape(&path);
            for (method, endpoint) in methods {
                let facts = facts.get(&(shape.clone(), method.clone())).copied().unwrap_or_default();
                let guessing = facts.operation.is_some_and(guesses::asks);
                let watched = Watched { facts, inner: Arc::new(Inner { guessing, endpoint }) };
                table.entry(path.clone()).or_default().insert(method, watched.boxed());
            }
        }
    }
}

fn registry<T: OpenApi>() -> Registry {
    let mut registry = Registry::new();
    T::register(&mut registry);
    registry
}

/// A path without the names of what varies in it, which routing and the document write differently.
fn shape(path: &str) -> String {
    let part = |part: &'_ str| if part.starts_with([':', '{']) { "*".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// What is to be known of an operation to watch it.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    /// Its `operationId`.
    id: Option<&'static str>,
    /// Its row in the table, where it asks who calls.
    operation: Option<Operation>,
    /// The same, where an `Idempotency-Key` means something to it.
    keyed: Option<Operation>,
    /// It answers with one object that has a version.
    versioned: bool,
}

impl Facts {
    fn of(meta: &MetaOperation, registry: &Registry) -> Self {
        let operation: Option<Operation> = meta.operation_id.and_then(|id| id.parse().ok());
        Self {
            id: meta.operation_id,
            operation,
            keyed: operation.filter(|operation| idempotency::is_keyed(&meta.method, *operation)),
            versioned: versions::answers_one(meta, registry),
        }
    }
}

/// One operation with what is around it.
struct Watched {
    facts: Facts,
    inner: Arc<Inner>,
}

struct Inner {
    guessing: bool,
    endpoint: BoxEndpoint<'static>,
}

impl Endpoint for Inner {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        if self.guessing { guesses::limited(request, &self.endpoint).await } else { self.endpoint.call(request).await }
    }
}

impl Endpoint for Watched {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let mut answered = match self.carry_out(request).await {
            Ok(response) if self.facts.versioned => versions::attach(response).await,
            answered => answered,
        };
        if let Some(id) = self.facts.id.map(OperationId) {
            match &mut answered {
                Ok(response) => response.set_data(id),
                Err(error) => error.set_data(id),
            }
        }
        answered
    }
}

impl Watched {
    async fn carry_out(&self, mut request: Request) -> Result<Response> {
        // Before the body is read: what is wrong with it is nothing to whoever may not send it.
        self.may(&request)?;
        answers::refuse_odd_if_match(request.headers())?;
        twice::packed(request.headers())?;
        // How long it may take is the connection's to say (`connections.rs`).
        let body = request.take_body().into_bytes_limit(body::BYTES_AT_MOST).await?;
        let waited = !body.is_empty();
        let given = rights::given(&body);
        request.set_body(body);
        if waited && self.facts.operation.is_some_and(Operation::writes) {
            self.ask_again(&mut request).await?;
        }
        if let (Some(operation), Some(who)) = (self.facts.operation, request.data::<Known>()) {
            rights::refuse_barred(operation, who.result()?.role, &given)?;
        }
        match self.facts.keyed {
            Some(operation) => idempotency::once(operation, Arc::clone(&self.inner), request).await,
            None => self.inner.call(request).await,
        }
    }

    /// Refuses whoever is not known or may not do it; nothing where nobody is asked who they are.
    fn may(&self, request: &Request) -> Result<(), ApiError> {
        let (Some(operation), Some(who)) = (self.facts.operation, request.data::<Known>()) else { return Ok(()) };
        Ok(who.result()?.may(operation).map(drop)?)
    }

    /// Asks once more who calls: while the body was on its way, the session may have ended or the user may have become another.
    async fn ask_again(&self, request: &mut Request) -> Result<(), ApiError> {
        let Some(state) = request.data::<State>().cloned() else { return Ok(()) };
        let who = Known::find(request, &state).await;
        request.set_data(who);
        self.may(request)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::Nouns;

    #[test]
    fn every_route_is_found_in_the_document() {
        let mut table = HashMap::new();
        crate::api::nouns().add_routes(&mut table);
        let routed: BTreeSet<_> = table.keys().map(|path| shape(path)).collect();
        let documented: BTreeSet<_> =
            Nouns::meta().iter().flat_map(|api| &api.paths).map(|path| shape(&path.path)).collect();
        assert_eq!(routed, documented);
        assert!(routed.contains("/api/v1/clients/*/sellers/*"), "{routed:?}");
    }
}
