//! A report as it is posted, and how the document describes it.

use std::borrow::Cow;

use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Object};
use serde_json::{Map, Value};

use crate::api::error::{ApiError, FieldError};
use crate::api::json;

/// Bytes of a report at most; an honest one has a few hundred.
const BYTES_AT_MOST: usize = 16 * 1024;

/// Neither a text nor a number.
const UNREADABLE: Value = Value::Array(Vec::new());

/// A text or a number: the old script sends either.
#[derive(Debug)]
struct Loose(Value);

impl Type for Loose {
    const IS_REQUIRED: bool = true;

    type RawValueType = Value;
    type RawElementValueType = Value;

    fn name() -> Cow<'static, str> {
        "text_or_number".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let any_of = vec![String::schema_ref(), f64::schema_ref()];
        MetaSchemaRef::Inline(Box::new(MetaSchema { any_of, ..MetaSchema::ANY }))
    }

    fn as_raw_value(&self) -> Option<&Value> {
        Some(&self.0)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
        Box::new(std::iter::once(&self.0))
    }
}

impl ParseFromJSON for Loose {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default()))
    }
}

impl ToJSON for Loose {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

/// A call that the old dialplan handled. What is empty counts as absent, unknown fields are ignored, and what cannot be read is left out
/// and named in the answer's `unreadable_fields`.
#[derive(Debug, Object)]
struct LogCall {
    /// Which Asterisk handled it; absent: the configured one, `unknown` where there are several.
    node: Option<Loose>,
    /// Asterisk's unique id of the inbound channel (`agi_uniqueid`), as a text; where it cannot be read, one is made of all that is reported.
    uniqueid: String,
    /// Its linked id (`CHANNEL(linkedid)`), as a text.
    linkedid: Option<String>,
    /// SIP Call-ID of the carrier's INVITE, by which the carrier finds the call as well.
    sip_call_id: Option<String>,
    /// What the carrier dialled (`agi_dnid`).
    dnid: Option<Loose>,
    /// The caller's number; also `callerid_num`, `callerid` or `agi_callerid`.
    caller_number: Option<Loose>,
    /// The caller's name; also `callerid_name`, `calleridname` or `agi_calleridname`.
    caller_name: Option<Loose>,
    /// `CALLERID(num-pres)`: with `prohib…` neither number nor name is kept. Absent: the caller may be shown.
    caller_presentation: Option<Loose>,
    /// `CDR(start)`: `YYYY-MM-DD hh:mm:ss` (in `internal.legacy_time_zone`), RFC 3339, or seconds since 1970.
    start: Option<Loose>,
    /// `CDR(answer)`, likewise.
    answer: Option<Loose>,
    /// `CDR(end)`, likewise; absent: now.
    end: Option<Loose>,
    /// `DIALSTATUS` of the last dial; absent where nobody was dialled.
    dialstatus: Option<Loose>,
    /// `HANGUPCAUSE`: Q.850, 0 to 127, or its name.
    hangupcause: Option<Loose>,
    /// `caller` or `client`, where the script knows who hung up.
    hung_up_by: Option<Loose>,
    /// The last attempted link, by its id on the old platform (`legacy_id` here).
    effective_ccs_id: Option<Loose>,
    /// The campaign, by its id on the old platform.
    campaign_id: Option<Loose>,
    /// The DID, by its id on the old platform; absent: it is found by `dnid`.
    did_id: Option<Loose>,
    /// The seller, by its id on the old platform.
    user_id: Option<Loose>,
}

/// A report as it was posted: an object, whatever its media type is said to be (an AGI script's `curl` often says another).
/// A field that is there twice is none that can be read: which one is meant?
pub(super) struct Posted(pub(super) Map<String, Value>);

impl<'a> ApiExtractor<'a> for Posted {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        LogCall::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: LogCall::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(_: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let bytes = body.take()?.into_bytes_limit(BYTES_AT_MOST).await?;
        // Names come as they were sent: bytes that are no UTF-8 are no reason to lose a call.
        match json::read(String::from_utf8_lossy(&bytes).as_bytes()).map(|read| (read.value, read.twins)) {
            Ok((Value::Object(mut fields), twins)) => {
                for name in twins {
                    if let Some(value) = fields.get_mut(&name) {
                        *value = UNREADABLE;
                    }
                }
                Ok(Self(fields))
            }
            Ok(_) => Err(ApiError::invalid(vec![FieldError::new("", "type", "must be of type object")]).into()),
            Err(error) => Err(ApiError::malformed(format!("The body is no JSON: {error}.")).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::legacy;

    #[test]
    fn the_document_lists_the_fields_that_are_read() {
        let mut registry = Registry::new();
        LogCall::register(&mut registry);
        let schema = &registry.schemas["LogCall"];
        let described: Vec<_> = schema.properties.iter().map(|(field, _)| *field).collect();
        let read: Vec<_> = legacy::FIELDS.iter().map(|(field, _)| *field).collect();
        let sorted = |mut fields: Vec<&'static str>| {
            fields.sort_unstable();
            fields
        };
        assert_eq!(sorted(described), sorted(read));
    }
}
