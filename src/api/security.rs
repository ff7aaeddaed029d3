//! Who sends a request: an access token (`Authorization: Bearer`) or an API token (`X-API-Key`), asked anew on every request, so that
//! a revocation, a disabled user or another role counts for the next one. Written by hand: of two schemes, the library's own reports the
//! last one's error only.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use poem::{Addr, Request, RequestBody, Result};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use secrecy::SecretString;

use super::State;
use super::error::ApiError;
use crate::auth::principal::{Credential, Principal};
use crate::auth::roles::{Operation, Reach};
use crate::auth::secrets;
use crate::config::Network;
use crate::store::users::Account;
use crate::store::{sessions, tokens};

const BEARER: &str = "AccessToken";
const KEY: &str = "ApiKey";
const KEY_HEADER: &str = "X-API-Key";
const AUTHORIZATION: &str = "Authorization";
const FORWARDED_FOR: &str = "X-Forwarded-For";

/// A caller who is known. What it may do is asked with [`Auth::may`], which every handler does first.
#[derive(Debug)]
pub(super) struct Auth(Principal, Option<DateTime<Utc>>);

impl Auth {
    /// The caller, and on whose objects it may carry out `operation`.
    pub(super) fn may(self, operation: Operation) -> Result<(Principal, Reach), ApiError> {
        let reach = self.0.may(operation)?;
        Ok((self.0, reach))
    }

    /// Until when its access token is good, for answers that go on; `None` for an API token, which the database is asked about.
    pub(super) fn until(&self) -> Option<DateTime<Utc>> {
        self.1
    }
}

impl<'a> ApiExtractor<'a> for Auth {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = |ty, description| MetaSecurityScheme {
            ty,
            description: Some(description),
            name: None,
            key_in: None,
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        let bearer = scheme("http", "An access token from `POST /auth/login`; lives 15 minutes.");
        let bearer = MetaSecurityScheme { scheme: Some("bearer"), bearer_format: Some("JWT"), ..bearer };
        registry.create_security_scheme(BEARER, bearer);
        let key = scheme("apiKey", "An API token from `POST /auth/tokens`, for scripts.");
        let key = MetaSecurityScheme { name: Some(KEY_HEADER), key_in: Some("header"), ..key };
        registry.create_security_scheme(KEY, key);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![BEARER, KEY]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let who: &Known = request.data().ok_or_else(ApiError::not_found)?;
        let (principal, until) = who.0.clone()?;
        Ok(Self(principal, until))
    }
}

/// Who sends a request and until when the credential is good, as found out once for all that looks at it; else why nobody is known.
#[derive(Debug, Clone)]
pub(super) struct Known(std::result::Result<(Principal, Option<DateTime<Utc>>), ApiError>);

impl Known {
    /// Asks the database.
    pub(super) async fn find(request: &Request, state: &State) -> Self {
        Self(principal(request, state).await)
    }

    /// The caller, else why it is not known.
    pub(super) fn result(&self) -> Result<&Principal, ApiError> {
        self.0.as_ref().map(|(principal, _)| principal).map_err(Clone::clone)
    }

    /// The caller, where it is known.
    pub(super) fn principal(&self) -> Option<&Principal> {
        self.0.as_ref().ok().map(|(principal, _)| principal)
    }
}

/// Who sends a request, where that is known.
pub(super) fn who(request: &Request) -> Option<&Principal> {
    request.data::<Known>().and_then(Known::principal)
}

async fn principal(request: &Request, state: &State) -> Result<(Principal, Option<DateTime<Utc>>), ApiError> {
    let now = state.clock.now().wall;
    let refused = || ApiError::unauthorized("credential", "The token is not good (any more): log in again.");
    let mut until = None;
    let (account, credential) = match (bearer(request), request.header(KEY_HEADER)) {
        (Some(_), Some(_)) => {
            return Err(ApiError::unauthorized("credential", "Send an access token or an API token, not both."));
        }
        (Some(token), None) => {
            let (session, end) = state.authority.key.read_until(token, now).ok_or_else(refused)?;
            until = Some(end);
            (sessions::owner(&state.db, session, now).await?.ok_or_else(refused)?, Credential::Session(session))
        }
        (None, Some(token)) => {
            if !secrets::is_api_token(token) {
                return Err(refused());
            }
            let hash = secrets::hash(&SecretString::from(token));
            let (account, id, scope) = tokens::owner(&state.db, &hash, now).await?.ok_or_else(refused)?;
            (account, Credential::Token { id, scope })
        }
        (None, None) => return Err(ApiError::unauthorized("credential", "Log in, and send the access token.")),
    };
    Ok((known(account, credential, client_address(request, &state.config.now().api.trusted_proxies)), until))
}

/// The principal that an account is with this credential.
fn known(account: Account, credential: Credential, address: Option<IpAddr>) -> Principal {
    Principal {
        user: account.id,
        username: account.username,
        name: account.name,
        role: account.role,
        credential,
        must_change_password: account.must_change_password,
        address,
    }
}

/// What is looked up of a text that can be an API token, where one was sent: whether it is one, only the database knows.
pub(super) fn api_token_hash(request: &Request) -> Option<String> {
    let token = request.header(KEY_HEADER).filter(|token| secrets::is_api_token(token))?;
    Some(secrets::hash(&SecretString::from(token)))
}

/// Whether a credential was sent, whatever it is.
pub(super) fn has_credential(request: &Request) -> bool {
    [AUTHORIZATION, KEY_HEADER].iter().any(|name| request.headers().contains_key(*name))
}

pub(super) fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header(AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The peer, where it says for whom it asks and is no trusted proxy.
pub(super) fn disbelieved(request: &Request, trusted: &[Network]) -> Option<IpAddr> {
    let Addr::SocketAddr(peer) = request.remote_addr().0 else { return None };
    let peer = peer.ip().to_canonical();
    let strange = request.headers().contains_key(FORWARDED_FOR) && !is_trusted(peer, trusted);
    strange.then_some(peer)
}

/// Who the client is: the peer, or while that is a trusted proxy the address it was given, from the last to the first.
pub(super) fn client_address(request: &Request, trusted: &[Network]) -> Option<IpAddr> {
    let Addr::SocketAddr(peer) = request.remote_addr().0 else { return None };
    // A value that is no text still stands for an address: left out, what was made up before it would be believed.
    let forwarded = request.headers().get_all(FORWARDED_FOR).iter();
    let forwarded: Vec<_> = forwarded.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Some(behind_proxies(peer.ip().to_canonical(), &forwarded.join(","), trusted))
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

fn behind_proxies(peer: IpAddr, forwarded: &str, trusted: &[Network]) -> IpAddr {
    let mut client = peer;
    for given in forwarded.rsplit(',') {
        if !is_trusted(client, trusted) {
            break;
        }
        // What is no address was made up before the last trusted proxy.
        let Ok(address) = given.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<Network> = vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, client) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "192.0.2.66, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
            ("127.0.0.1", "nonsense, 10.1.1.1", "10.1.1.1"),
            ("127.0.0.1", "", "127.0.0.1"),
        ] {
            let found = behind_proxies(peer.parse().unwrap(), forwarded, &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }
}
