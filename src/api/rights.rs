//! Fields of a body that the caller's role may not set are refused here, before any handler sees them.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::error::{ApiError, FieldError};
use crate::auth::roles::{self, Operation, Role};

/// Names of the fields that a body gives; none where it is no JSON object, which is its reader's to refuse.
pub(super) fn given(body: &[u8]) -> Vec<String> {
    let fields = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body);
    fields.map(|fields| fields.into_keys().collect()).unwrap_or_default()
}

/// Refuses fields that are somebody else's to set, as if there were none of that name. One that nobody may set is unknown to the body's
/// own reader.
pub(super) fn refuse_barred(operation: Operation, role: Role, given: &[String]) -> Result<(), ApiError> {
    let allowed = roles::fields(role, operation);
    let barred = given.iter().filter(|field| allowed.bars(field));
    let errors: Vec<_> =
        barred.map(|field| FieldError::new(field.as_str(), "unknown_field", "is not known here")).collect();
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
}
