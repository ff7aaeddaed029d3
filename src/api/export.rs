//! Calls as files: CSV for spreadsheets, NDJSON for programs. Written while they are read, so memory does not grow with their number;
//! the last line tells how many rows there are, so that one that was cut off can be told.

use csv::{Terminator, WriterBuilder};
use futures_util::stream::{Stream, StreamExt};
use poem::Body;
use poem_openapi::types::ToJSON;
use tokio::sync::SemaphorePermit;

use super::render::{Call, Viewer};
use crate::cdr::record::CallRecord;
use crate::routing::number::is_e164;
use crate::store::calls::{self, Filter};
use crate::store::{Db, StoreError};

/// How calls are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

/// All calls that match, as this viewer may see them. `permit` is given back when the last row is written or the reader goes.
pub(super) fn body(db: Db, filter: Filter, viewer: Viewer, format: Format, permit: SemaphorePermit<'static>) -> Body {
    Body::from_bytes_stream(lines(calls::all(db, filter), viewer, format, permit))
}

type Batch = Result<Vec<CallRecord>, StoreError>;

fn lines(
    batches: impl Stream<Item = Batch> + Send + 'static,
    viewer: Viewer,
    format: Format,
    permit: SemaphorePermit<'static>,
) -> impl Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static {
    let head = (format == Format::Csv).then(|| record(COLUMNS));
    // `None` stands for the end, where the count is due.
    let batches = Box::pin(batches).map(Some).chain(futures_util::stream::iter([None]));
    let lines = batches.scan((0_usize, permit), move |(rows, _), batch| {
        let written = match batch {
            Some(Ok(batch)) => {
                *rows += batch.len();
                batch
                    .iter()
                    .map(|call| line(&viewer.call(call), format))
                    .collect::<Result<Vec<_>, _>>()
                    .map(|l| l.concat())
            }
            Some(Err(error)) => {
                tracing::error!(%error, "an export was cut off");
                Err(std::io::Error::other("the export was cut off"))
            }
            None => last_line(*rows, format),
        };
        std::future::ready(Some(written))
    });
    // After an error nothing follows, the count least of all.
    let mut failed = false;
    let lines = lines.take_while(move |line| {
        let go_on = !failed;
        failed |= line.is_err();
        std::future::ready(go_on)
    });
    futures_util::stream::iter(head).chain(lines)
}

fn line(call: &Call, format: Format) -> std::io::Result<Vec<u8>> {
    match format {
        Format::Csv => record(cells(call)),
        Format::Ndjson => Ok(format!("{}\n", call.to_json_string()).into_bytes()),
    }
}

fn last_line(rows: usize, format: Format) -> std::io::Result<Vec<u8>> {
    match format {
        Format::Csv => record(["rows".to_owned(), rows.to_string()]),
        Format::Ndjson => Ok(format!("{{\"rows\":{rows}}}\n").into_bytes()),
    }
}

fn record(cells: impl IntoIterator<Item: AsRef<[u8]>>) -> std::io::Result<Vec<u8>> {
    // RFC 4180.
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(cells).map_err(std::io::Error::other)?;
    writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
}

const COLUMNS: [&str; 25] = [
    "call_id",
    "arrived_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "did",
    "caller",
    "caller_name",
    "caller_presentation",
    "seller_id",
    "seller_name",
    "campaign_id",
    "campaign_name",
    "link_id",
    "client_id",
    "client_name",
    "ring_ms",
    "talk_ms",
    "ending",
    "hung_up_by",
    "dialstatus",
    "sip_code",
    "q850_cause",
    "dials",
    "handled_by",
];

/// The cells of a row, in the order of [`COLUMNS`].
fn cells(call: &Call) -> [String; 25] {
    let client = call.client.as_ref();
    [
        call.call_id.clone(),
        call.arrived_at.to_rfc3339(),
        or_empty(call.ringing_at.map(|at| at.to_rfc3339())),
        or_empty(call.answered_at.map(|at| at.to_rfc3339())),
        call.ended_at.to_rfc3339(),
        number(&call.did),
        call.caller.as_deref().map_or_else(String::new, number),
        call.caller_name.as_deref().map_or_else(String::new, text),
        call.caller_presentation.clone(),
        or_empty(call.seller_id),
        call.seller_name.as_deref().map_or_else(String::new, text),
        or_empty(call.campaign_id),
        call.campaign_name.as_deref().map_or_else(String::new, text),
        or_empty(call.link_id),
        or_empty(client.map(|client| client.id)),
        client.map_or_else(String::new, |client| text(&client.name)),
        call.ring_ms.to_string(),
        call.talk_ms.to_string(),
        text(&call.ending),
        call.hung_up_by.clone(),
        call.dialstatus.clone(),
        or_empty(call.sip_code),
        or_empty(call.q850_cause),
        call.dials.to_string(),
        call.handled_by.clone(),
    ]
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A number in E.164 is what it is; anything else that was dialled is text.
fn number(given: &str) -> String {
    if is_e164(given) { given.to_owned() } else { text(given) }
}

/// Text that no spreadsheet takes for a formula: callers choose their names.
fn text(given: &str) -> String {
    if given.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{given}") } else { given.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_numbers_stay_numbers() {
        for hostile in ["=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "+44 20 7123 4567"] {
            assert_eq!(number(hostile), format!("'{hostile}"));
        }
        for harmless in ["+442071234567", "Ann", "", "a=b", "'x"] {
            assert_eq!(number(harmless), harmless);
        }
    }

    #[test]
    fn quotes_commas_and_line_ends_stay_in_their_cell() {
        let written = record(["a\"b", "c,d", "e\r\nf"]).expect("written");
        assert_eq!(String::from_utf8(written).expect("text"), "\"a\"\"b\",\"c,d\",\"e\r\nf\"\r\n");
    }
}
