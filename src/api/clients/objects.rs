//! Clients as sent and as shown.

use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, Union};
use secrecy::{ExposeSecret, SecretString};

use super::sip::{Sip, SipChange};
use crate::api::changes::Merge;
use crate::api::secret::Secret;
use crate::api::words::{ClientAccess, Life};
use crate::store::change::Owner;
use crate::store::clients::{ClientValues, StoredClient};
use crate::text;

/// A client as the caller's role sees it.
#[derive(Debug, Union)]
#[oai(one_of = true)]
pub(super) enum ClientView {
    /// To admins and staff.
    Full(Box<Client>),
    /// To sellers.
    Seller(SellersClient),
}

/// A client as sellers see it.
#[derive(Debug, Object)]
pub(super) struct SellersClient {
    /// Id.
    id: i64,
    /// Its name, or the alias that stands for it.
    name: String,
    /// Life.
    status: Life,
}

/// A client: a call centre.
#[derive(Debug, Object)]
pub(super) struct Client {
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
    /// Why it is offered no calls although it is active: its host leads where no client may be. Lifted by itself when that is over.
    suspended_reason: Option<String>,
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
    pub(super) fn new(client: StoredClient, generated: Option<&SecretString>) -> Self {
        let values = client.values;
        Self {
            id: client.id.0,
            client_identifier: client.identifier.to_string(),
            name: values.name,
            mask_name: values.mask_name,
            status: values.status.into(),
            suspended_reason: client.suspended_reason,
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
    pub(super) fn new(client: StoredClient, owner: Owner) -> Self {
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
pub(super) struct NewClient {
    /// Its PJSIP endpoint: 1 to 40 of `A-Z a-z 0-9 _ -`, unique ignoring case, never changed and never given again.
    #[oai(validator(min_length = 1, max_length = 40))]
    pub(super) client_identifier: String,
    /// For people, and kept in records.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub(super) name: String,
    /// How it is reached.
    pub(super) sip: SipChange,
    /// The rest, as in a change.
    #[oai(flatten)]
    pub(super) rest: ClientSettings,
}

/// What to change of a client: absent keeps, null clears.
#[derive(Debug, Object)]
pub(super) struct ClientPatch {
    /// For people, and kept in records.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub(super) name: MaybeUndefined<String>,
    /// How it is reached; merged field by field.
    pub(super) sip: MaybeUndefined<SipChange>,
    /// The rest.
    #[oai(flatten)]
    pub(super) rest: ClientSettings,
}

/// Settings of a client.
#[derive(Debug, Object)]
pub(super) struct ClientSettings {
    /// What sellers see instead of the name; null (at first) = the name. Admins only.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub(super) mask_name: MaybeUndefined<String>,
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
    pub(super) fn merge(self, merge: &mut Merge, values: &mut ClientValues) {
        let new = |given: &MaybeUndefined<String>, stored: &Option<String>| {
            given.value().filter(|given| stored.as_ref() != Some(*given)).cloned()
        };
        if let Some(alias) = new(&self.mask_name, &values.mask_name) {
            merge.name("mask_name", &alias);
        }
        if let MaybeUndefined::Value(zone) = &self.time_zone
            && zone.parse::<chrono_tz::Tz>().is_err()
        {
            merge.wrong("time_zone", "is not an IANA name such as Europe/London");
        }
        if let Some(contact) = new(&self.contact, &values.contact) {
            if contact.chars().any(|c| c.is_control() && c != '\n') {
                merge.wrong("contact", "holds a control character other than a line break");
            }
            if let Some(problem) = text::hidden_problem(&contact) {
                merge.wrong("contact", problem);
            }
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
pub(super) struct NamedSeller {
    /// Id of the user.
    pub(super) id: i64,
    /// Its username.
    pub(super) username: String,
}

/// The sellers that are named for a client.
#[derive(Debug, Object)]
pub(super) struct NamedSellers {
    /// By id.
    pub(super) items: Vec<NamedSeller>,
}
