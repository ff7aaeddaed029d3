//! PURE placeholder until merged from the `cli` branch.
use super::snapshot::{Did, Snapshot};
/// A dialled number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// As dialled.
    pub raw: String,
    /// In E.164.
    pub e164: Option<String>,
}
/// Finds.
#[must_use]
pub fn find_did<'a>(snapshot: &'a Snapshot, dialled: &Dialled) -> Option<&'a Did> {
    snapshot.dids.get(&dialled.raw).or_else(|| snapshot.dids.get(dialled.e164.as_deref()?))
}
/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As sent.
    pub raw: Option<String>,
    /// In E.164.
    pub e164: Option<String>,
    /// May it be shown.
    pub presentation: crate::cdr::record::Presentation,
}
