//! Clients, and which sellers may use them.

mod sip;

use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi, Union};
use secrecy::{ExposeSecret, SecretString};

use self::sip::{Sip, SipChange};
use super::answers::{self, Created, Done};
use super::body::Body;
use super::changes::{Caller, Merge, keyset};
use super::error::ApiError;
use super::page::{Page, Window};
use super::secret::Secret;
use super::security::Auth;
use super::words::{ClientAccess, Life};
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::auth::secrets;
use crate::id::{ClientId, UserId};
use crate::realtime::reserved;
use crate::routing::snapshot::{ClientIdentifier, Status};
use crate::store::change::Owner;
use crate::store::clients::{self, Access, ClientValues, StoredClient};

/// Client endpoints.
#[derive(Debug)]
pub(super) struct Clients;

/// A client as the caller's role sees it.
#[derive(Debug, Union)]
#[oai(one_of = true)]
enum ClientView {
    /// To admins and staff.
    Full(Box<Client>),
    /// To sellers.
    Seller(SellersClient),
}

/// A client as sellers see it.
#[derive(Debug, Object)]
struct SellersClient {
    /// Id.
    id: i64,
    /// Its name, or the alias that stands for it.
    name: String,
    /// Life.
    status: Life,
}

/// A client: a call centre.
#[derive(Debug, Object)]
struct Client {
    /// Id.
    id: i64,
    /// Its PJSIP endpoint; never changes.
    client_identifier: String,
    /// For people, and kept in records.
    name: String,
    /// What sellers see instead of the name.
    mask_name: Option<String>,
    /// Life.
    status: Life,
    /// Calls ringing or talking at once over all sellers' campaigns; null = no limit, 0 = none.
    max_concurrency: Option<u32>,
    /// Whether the INVITE to it carries `X-CapConduit-Call-Id` and `X-CapConduit-Campaign`.
    send_headers: bool,
    /// Whom to call there, for people.
    contact: Option<String>,
    /// Where it is, as an IANA name such as `Europe/London`.
    time_zone: Option<String>,
    /// Which sellers may link it.
    access: ClientAccess,
    /// How it is reached.
    sip: Sip,
    /// Grows with every change; send it as `If-Match`.
    version: i64,
    /// The password that was generated for `sip.registration`: only in the answer to the request that made it, never again.
    #[oai(skip_serializing_if_is_none)]
    generated_password: Option<Secret>,
}

impl Client {
    fn new(client: StoredClient, generated: Option<&SecretString>) -> Self {
        let values = client.values;
        Self {
            id: client.id.0,
            client_identifier: client.identifier.to_string(),
            name: values.name,
            mask_name: values.mask_name,
            status: values.status.into(),
            max_concurrency: values.max_concurrency,
            send_headers: values.send_headers,
            contact: values.contact,
            time_zone: values.time_zone,
            access: values.access.into(),
            sip: Sip::from(&values.sip),
            version: client.version,
            generated_password: generated.map(|password| password.expose_secret().to_owned().into()),
        }
    }
}

impl ClientView {
    fn new(client: StoredClient, owner: Owner) -> Self {
        match owner {
            Owner::Anyone => Self::Full(Box::new(Client::new(client, None))),
            Owner::Only(_) => Self::Seller(SellersClient {
                id: client.id.0,
                name: client.name_for(owner).to_owned(),
                status: client.values.status.into(),
            }),
        }
    }
}

/// A client to make.
#[derive(Debug, Object)]
struct NewClient {
    /// Its PJSIP endpoint: 1 to 40 of `A-Z a-z 0-9 _ -`, unique ignoring case, never changed and never given again.
    #[oai(validator(min_length = 1, max_length = 40))]
    client_identifier: String,
    /// For people, and kept in records.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// How it is reached.
    sip: SipChange,
    /// The rest, as in a change.
    #[oai(flatten)]
    rest: ClientSettings,
}

/// What to change of a client: absent keeps, null clears.
#[derive(Debug, Object)]
struct ClientPatch {
    /// For people, and kept in records.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: MaybeUndefined<String>,
    /// How it is reached; merged field by field.
    sip: MaybeUndefined<SipChange>,
    /// The rest.
    #[oai(flatten)]
    rest: ClientSettings,
}

/// Settings of a client.
#[derive(Debug, Object)]
struct ClientSettings {
    /// What sellers see instead of the name; null (at first) = the name. Admins only.
    #[oai(validator(min_length = 1, max_length = 100))]
    mask_name: MaybeUndefined<String>,
    /// Life; at first `active`. Links to it must be archived before it is.
    status: MaybeUndefined<Life>,
    /// Calls ringing or talking at once over all sellers' campaigns; null (at first) = no limit, 0 = none.
    #[oai(validator(minimum(value = "0"), maximum(value = "4294967295")))]
    max_concurrency: MaybeUndefined<i64>,
    /// Whether the INVITE to it carries `X-CapConduit-Call-Id` and `X-CapConduit-Campaign`; at first false.
    send_headers: MaybeUndefined<bool>,
    /// Whom to call there, for people.
    #[oai(validator(max_length = 500))]
    contact: MaybeUndefined<String>,
    /// Where it is, as an IANA name such as `Europe/London`.
    #[oai(validator(max_length = 64))]
    time_zone: MaybeUndefined<String>,
    /// Which sellers may link it; at first `all`. Sellers who no longer may get no new attempts through their links.
    access: MaybeUndefined<ClientAccess>,
}

impl ClientSettings {
    fn merge(self, merge: &mut Merge, values: &mut ClientValues) {
        merge.name("name", &values.name);
        if let MaybeUndefined::Value(alias) = &self.mask_name {
            merge.name("mask_name", alias);
        }
        if let MaybeUndefined::Value(zone) = &self.time_zone
            && zone.parse::<chrono_tz::Tz>().is_err()
        {
            merge.wrong("time_zone", "is not an IANA name such as Europe/London");
        }
        if let MaybeUndefined::Value(contact) = &self.contact
            && contact.chars().any(|c| c.is_control() && c != '\n')
        {
            merge.wrong("contact", "holds a control character other than a line break");
        }
        merge.clearable(self.mask_name, &mut values.mask_name);
        merge.set("status", self.status, &mut values.status);
        merge.limit("max_concurrency", self.max_concurrency, &mut values.max_concurrency);
        merge.set("send_headers", self.send_headers, &mut values.send_headers);
        merge.clearable(self.contact, &mut values.contact);
        merge.clearable(self.time_zone, &mut values.time_zone);
        merge.set("access", self.access, &mut values.access);
    }
}

/// A seller that is named for a client.
#[derive(Debug, Object)]
struct NamedSeller {
    /// Id of the user.
    id: i64,
    /// Its username.
    username: String,
}

/// The sellers that are named for a client.
#[derive(Debug, Object)]
struct NamedSellers {
    /// By id.
    items: Vec<NamedSeller>,
}

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
    /// 409 `identifier_taken` where another client has or had the identifier.
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
        let reached = new.sip.merge(&mut merge, None, &spare);
        let (Some(identifier), Some((sip, md5_cred, generated))) = (identifier, reached) else {
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
            md5_cred,
        };
        new.rest.merge(&mut merge, &mut values);
        merge.end()?;
        let made = clients::create(&caller.editor(state), identifier, values).await?;
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
    /// `{"sip": {"host": null, "registration": {"username": "north"}}}`. Pausing stops new attempts and ends no call.
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
        let spare = secrets::password();
        let mut generated = false;
        let edit = |values: &mut ClientValues| {
            let mut merge = Merge::default();
            merge.set("name", patch.name, &mut values.name);
            match patch.sip {
                MaybeUndefined::Undefined => {}
                MaybeUndefined::Null => merge.wrong("sip", "cannot be null"),
                MaybeUndefined::Value(change) => {
                    if let Some((sip, md5_cred, new)) = change.merge(&mut merge, Some(values), &spare) {
                        (values.sip, values.md5_cred, generated) = (sip, md5_cred, new);
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
