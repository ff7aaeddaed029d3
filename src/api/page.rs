//! Lists come in pages that begin after a key, so that rows that come or go in between neither repeat nor hide others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem_openapi::Object;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::{ApiError, FieldError};

/// Items of a page where nothing else is asked for.
const DEFAULT: u32 = 50;
/// Items of a page at most.
const MOST: u32 = 200;

/// PostgreSQL has no text with it, and a key may be a text.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.values().any(has_nul),
        _ => false,
    }
}

/// One page of a list.
#[derive(Debug, Object)]
pub(super) struct Page<T: ParseFromJSON + ToJSON + Type + Send + Sync> {
    /// The objects, in the order of the list.
    items: Vec<T>,
    /// Send it as `cursor`, with the same filters, for the page that follows; null on the last one.
    next_cursor: Option<String>,
}

/// What a request for a page asks: where it begins, and how much.
#[derive(Debug)]
pub(super) struct Window<K> {
    /// Key of the last item before it; `None` on the first page.
    pub(super) after: Option<K>,
    /// Items to read: one more than the page has room for, so that it is known whether another follows.
    pub(super) read: u64,
    limit: usize,
    filters: String,
}

#[derive(Serialize, Deserialize)]
struct Cursor<K> {
    k: K,
    f: String,
}

impl<K: Serialize + DeserializeOwned> Window<K> {
    /// Reads the parameters `limit` and `cursor` of a list with these `filters` (any text that holds all of them).
    pub(super) fn new(limit: Option<u32>, cursor: Option<&str>, filters: &str) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(ApiError::invalid(vec![FieldError::new("limit", "range", format!("use 1 to {MOST}"))]));
        }
        let digest = Sha256::digest(filters.as_bytes());
        let filters = URL_SAFE_NO_PAD.encode(&digest[..9]);
        let after = cursor.map(|cursor| Self::read_cursor(cursor, &filters)).transpose()?;
        Ok(Self { after, read: u64::from(limit) + 1, limit: usize::try_from(limit).unwrap_or(usize::MAX), filters })
    }

    fn read_cursor(cursor: &str, filters: &str) -> Result<K, ApiError> {
        let refused = |detail: &str| ApiError::invalid(vec![FieldError::new("cursor", "cursor", detail)]);
        let value: Option<Value> = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|it| serde_json::from_slice(&it).ok());
        if value.as_ref().is_some_and(has_nul) {
            return Err(ApiError::malformed("The cursor has the character U+0000: use next_cursor as it came."));
        }
        let read: Option<Cursor<K>> = value.and_then(|value| serde_json::from_value(value).ok());
        let cursor = read.ok_or_else(|| refused("use next_cursor as it came"))?;
        if cursor.f != filters {
            return Err(refused("belongs to a list with other filters: begin again without it"));
        }
        Ok(cursor.k)
    }

    /// The page of the rows that were read; `key` tells a row's place in the list.
    pub(super) fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        view: impl Fn(R) -> T,
    ) -> Result<Page<T>, ApiError>
    where
        T: ParseFromJSON + ToJSON + Type + Send + Sync,
    {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next_cursor = match rows.last() {
            Some(last) if more => {
                let cursor = Cursor { k: key(last), f: self.filters.clone() };
                let json = serde_json::to_vec(&cursor).map_err(|error| ApiError::internal(&error))?;
                Some(URL_SAFE_NO_PAD.encode(json))
            }
            _ => None,
        };
        Ok(Page { items: rows.into_iter().map(view).collect(), next_cursor })
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end_under_the_same_filters() {
        let rows: Vec<i64> = (1..=5).collect();
        let (mut cursor, mut seen, mut pages) = (None::<String>, Vec::new(), 0);
        loop {
            let window = Window::<i64>::new(Some(2), cursor.as_deref(), "status=active").unwrap();
            let after = window.after.unwrap_or(0);
            let found = rows.iter().copied().filter(|id| *id > after).take(3).collect();
            let page = window.page(found, |id| *id, |id| id).unwrap();
            pages += 1;
            seen.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            assert!(Window::<i64>::new(Some(2), cursor.as_deref(), "status=paused").is_err());
        }
        assert_eq!((seen, pages), (rows, 3));
    }

    #[test]
    fn odd_limits_and_cursors_are_refused() {
        for limit in [0, 201] {
            assert!(Window::<i64>::new(Some(limit), None, "").is_err());
        }
        for cursor in ["", "x", "e30", "ünïcode"] {
            assert!(Window::<i64>::new(None, Some(cursor), "").is_err(), "{cursor}");
        }
    }

    #[test]
    fn a_nul_in_a_cursor_never_reaches_the_database() {
        let window = Window::<(i64, String)>::new(Some(1), None, "").unwrap();
        let page = window.page(vec!["a", "b"], |key| (1, format!("{key}\0")), str::to_owned).unwrap();
        let refused = Window::<(i64, String)>::new(None, page.next_cursor.as_deref(), "").unwrap_err();
        assert_eq!(refused.code(), "malformed");
    }
}
