//! The token of the old dialplan's script.

use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::api::State;
use crate::api::error::ApiError;
use crate::api::security::client_address;
use crate::auth::secrets;
use crate::telemetry::name;

const SCHEME: &str = "InternalToken";
const HEADER: &str = "X-Internal-API-Token";

/// Whoever knows the configured token and comes from an allowed address.
pub(super) struct InternalToken;

impl<'a> ApiExtractor<'a> for InternalToken {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "apiKey",
            description: Some("The token of `internal.log_call_token` in the configuration."),
            name: Some(HEADER),
            key_in: Some("header"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(SCHEME, scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let state: &State = request.data().ok_or(ApiError::not_found())?;
        let config = state.config.now();
        let internal = &config.internal;
        let Some(token) = &internal.log_call_token else { return Err(ApiError::not_found().into()) };
        let address = client_address(request, &config.api.trusted_proxies);
        let allowed = |address| internal.log_call_from.iter().any(|network| network.contains(address));
        if !address.is_some_and(allowed) {
            metrics::counter!(name::REPORTS, "outcome" => "address").increment(1);
            tracing::warn!(
                address = address.map(|it| it.to_string()),
                "a call was reported from an address that may not"
            );
            return Err(ApiError::forbidden(
                "address",
                "Calls may not be logged from this address: see internal.log_call_from.",
            )
            .into());
        }
        let given = request.headers().get(HEADER);
        if given.is_some_and(|given| secrets::is(given.as_bytes(), token)) {
            return Ok(Self);
        }
        metrics::counter!(name::REPORTS, "outcome" => "token").increment(1);
        tracing::warn!(address = address.map(|it| it.to_string()), "a call was reported with a wrong token, or none");
        Err(ApiError::unauthorized("credential", "Send the configured token as X-Internal-API-Token.").into())
    }
}
