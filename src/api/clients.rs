//! Clients, and which sellers may use them.

mod objects;
mod sip;
mod state;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;

use self::objects::{Client, ClientPatch, ClientView, NamedSeller, NamedSellers, NewClient};
use self::sip::Judge;
use self::state::ClientState;
use super::answers::{self, Created, Done};
use super::body::Body;
use super::changes::{Caller, Merge, keyset};
use super::error::ApiError;
use super::page::{Page, Window};
use super::security::Auth;
use super::words::Life;
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::auth::secrets;
use crate::id::{ClientId, UserId};
use crate::realtime::{OwnRealm, reserved};
use crate::routing::snapshot::{ClientIdentifier, Status};
use crate::store::clients::{self, Access, ClientValues};

/// Client endpoints.
#[derive(Debug)]
pub(super) struct Clients;

#[OpenApi(prefix_path = "/api/v1/clients", tag = "Tag::Clients")]
impl Clients {
    /// List clients
    ///
    /// By id. Archived ones only with `status=archived`. Sellers see those they may link, and of each its id, name and status.
    #[oai(path = "/", method = "get", operation_id = "listClients")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Only with this status.
        status: Query<Option<Life>>,
        /// Items of a page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<ClientView>>, ApiError> {
        let caller = Caller::new(auth, Operation::ListClients)?;
        let status = status.0.map(Into::into);
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("clients {status:?}"))?;
        let rows = clients::list(&state.db, caller.owner, status, keyset(&window)).await?;
        Ok(Json(window.page(rows, |client| client.id.0, |client| ClientView::new(client, caller.owner))?))
    }

    /// Make a client
    ///
    /// Asterisk dials it within a second, without a reload. Example:
    /// `{"client_identifier": "north", "name": "North Calls", "sip": {"host": "203.0.113.7"}, "max_concurrency": 30}`, or with
    /// `"sip": {"registration": {"username": "north"}}`, which answers the `generated_password`.
    /// 409 `identifier_taken` where another client has or had the identifier, `endpoint_taken` where a connected node has an endpoint
    /// of that name that is none of our clients', `address_taken` where another client is known by, or at, one of its addresses.
    ///
    /// A client that challenges our calls: `"sip": {"host": "sip.north.example", "outbound_auth": {"username": "us",
    /// "password": "…", "realm": "north.example"}}`. What `host` resolves to must be public, or within `sip.allowed_networks`; a name
    /// that does not resolve yet is taken, and looked up again every few minutes: `suspended_reason` says when it leads astray.
    #[oai(path = "/", method = "post", operation_id = "createClient")]
    async fn create(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        Body(new): Body<NewClient>,
    ) -> Result<Created<Client>, ApiError> {
        let caller = Caller::new(auth, Operation::CreateClient)?;
        caller.may_set(&[("mask_name", !new.rest.mask_name.is_undefined())])?;
        let spare = secrets::password();
        let mut merge = Merge::default();
        let identifier: Option<ClientIdentifier> = new.client_identifier.parse().ok();
        if identifier.is_none() {
            merge.wrong("client_identifier", "use 1 to 40 of A-Z a-z 0-9 _ -");
        }
        if identifier.as_ref().is_some_and(reserved) {
            merge.wrong("client_identifier", "is kept for the node's own objects");
        }
        let screen = state.screen.now();
        let judge = Judge::of(&screen, &new.sip).await;
        let fresh = OwnRealm::new(secrets::drawn());
        let reached = new.sip.merge(&mut merge, None, &judge, (&spare, fresh));
        let (Some(identifier), Some((sip, secrets, generated))) = (identifier, reached) else {
            return Err(merge.end().err().map_or_else(ApiError::not_found, Into::into));
        };
        let mut values = ClientValues {
            name: new.name,
            mask_name: None,
            status: Status::Active,
            max_concurrency: None,
            send_headers: false,
            contact: None,
            time_zone: None,
            access: Access::All,
            sip,
            secrets,
        };
        merge.name("name", &values.name);
        new.rest.merge(&mut merge, &mut values);
        merge.end()?;
        let foreign = state.presence.node_with(&identifier).await;
        let made = clients::create(&caller.editor(state), identifier, values, foreign).await?;
        Ok(Created::Made(Json(Client::new(made, generated.then_some(&spare)))))
    }

    /// Read a client
    ///
    /// Sellers see its id, name and status.
    #[oai(path = "/:id", method = "get", operation_id = "getClient")]
    async fn get(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
    ) -> Result<Json<ClientView>, ApiError> {
        let caller = Caller::new(auth, Operation::GetClient)?;
        let client = clients::get(&state.db, caller.owner, ClientId(id.0)).await?;
        Ok(Json(ClientView::new(client, caller.owner)))
    }

    /// Change a client
    ///
    /// `sip` is merged field by field: from a fixed address to registration, send
    /// `{"sip": {"host": null, "registration": {"username": "north"}}}`; for a new password,
    /// `{"sip": {"registration": {"password": null}}}` generates one and shows it once. Pausing stops new attempts and ends no call.
    /// 409 `in_use` where it is to be archived while links lead to it.
    #[oai(path = "/:id", method = "patch", operation_id = "updateClient")]
    async fn update(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
        /// The version that the change is meant for, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        Body(patch): Body<ClientPatch>,
    ) -> Result<Json<Client>, ApiError> {
        let caller = Caller::new(auth, Operation::UpdateClient)?;
        caller.may_set(&[("mask_name", !patch.rest.mask_name.is_undefined())])?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        let (spare, fresh) = (secrets::password(), OwnRealm::new(secrets::drawn()));
        let mut generated = false;
        let screen = state.screen.now();
        let judge = match &patch.sip {
            MaybeUndefined::Value(change) => Judge::of(&screen, change).await,
            _ => Judge::without_look_up(&screen),
        };
        let edit = |values: &mut ClientValues| {
            let mut merge = Merge::default();
            merge.rename("name", patch.name, &mut values.name);
            match patch.sip {
                MaybeUndefined::Undefined => {}
                MaybeUndefined::Null => merge.wrong("sip", "cannot be null"),
                MaybeUndefined::Value(change) => {
                    let merged = change.merge(&mut merge, Some(values), &judge, (&spare, fresh));
                    if let Some((sip, secrets, new)) = merged {
                        (values.sip, values.secrets, generated) = (sip, secrets, new);
                    }
                }
            }
            patch.rest.merge(&mut merge, values);
            merge.end()
        };
        let changed = clients::change(&caller.editor(state), ClientId(id.0), expected, edit).await?;
        Ok(Json(Client::new(changed, generated.then_some(&spare))))
    }

    /// Delete a client
    ///
    /// Its identifier is never given again. 409 `in_use` where links lead to it or records of calls name it: archive it instead.
    #[oai(path = "/:id", method = "delete", operation_id = "deleteClient")]
    async fn delete(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
        /// The version that is meant, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::DeleteClient)?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        clients::delete(&caller.editor(state), ClientId(id.0), expected).await?;
        Ok(Done::Done)
    }

    /// Read what the nodes see of a client
    ///
    /// Asked at this moment, or within the last second, each node for a few seconds at most; one that is away says so. And how much of each cap
    /// is used. 503 `nodes_busy` where the nodes are being asked for 8 other clients already.
    /// Example: `{"client_id": 7, "client_identifier": "north", "status": "active", "suspended_reason": null, "nodes": [{"node":
    /// "asterisk", "answers": true, "endpoint": "present", "reachability": "reachable", "round_trip_ms": 12.5, "channels": 2}],
    /// "used": 2, "limit": 30, "links": []}`
    #[oai(path = "/:id/state", method = "get", operation_id = "getClientState")]
    async fn state(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
    ) -> Result<Json<ClientState>, ApiError> {
        let caller = Caller::new(auth, Operation::GetClientState)?;
        let client = clients::get(&state.db, caller.owner, ClientId(id.0)).await?;
        Ok(Json(ClientState::of(state, client).await?))
    }

    /// List the sellers named for a client
    ///
    /// They matter where its `access` is `selected`: these alone see and link it.
    #[oai(path = "/:id/sellers", method = "get", operation_id = "listClientSellers")]
    async fn list_sellers(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
    ) -> Result<Json<NamedSellers>, ApiError> {
        Caller::new(auth, Operation::ListClientSellers)?;
        let sellers = clients::sellers(&state.db, ClientId(id.0)).await?;
        let items = sellers.into_iter().map(|(id, username)| NamedSeller { id: id.0, username }).collect();
        Ok(Json(NamedSellers { items }))
    }

    /// Name a seller for a client
    ///
    /// Repeating changes nothing.
    #[oai(path = "/:id/sellers/:seller_id", method = "put", operation_id = "addClientSeller")]
    async fn add_seller(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
        /// Id of the seller.
        seller_id: Path<i64>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::AddClientSeller)?;
        clients::name_seller(&caller.editor(state), ClientId(id.0), UserId(seller_id.0), true).await?;
        Ok(Done::Done)
    }

    /// Take a seller's name back
    ///
    /// Where `access` is `selected`, its links get no new attempts from then on; calls go on. Repeating changes nothing.
    #[oai(
        path = "/:id/sellers/:seller_id",
        method = "delete",
        tag = "Tag::Clients",
        operation_id = "removeClientSeller"
    )]
    async fn remove_seller(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the client.
        id: Path<i64>,
        /// Id of the seller.
        seller_id: Path<i64>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::RemoveClientSeller)?;
        clients::name_seller(&caller.editor(state), ClientId(id.0), UserId(seller_id.0), false).await?;
        Ok(Done::Done)
    }
}
