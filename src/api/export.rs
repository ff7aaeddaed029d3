//! Calls as files: CSV for spreadsheets, NDJSON for programs. Written while they are read, so memory does not grow with their number;
//! the last line tells how many rows there are, so that one that was cut off can be told.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use csv::{Terminator, WriterBuilder};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use poem::Body;
use poem_openapi::types::ToJSON;
use tokio::time::Sleep;

use super::State;
use super::calls::viewer;
use super::cells::harmless;
use super::render::{Call, Viewer};
use super::visits::Visit;
use crate::auth::principal::Principal;
use crate::cdr::record::CallRecord;
use crate::store::calls::{self, Filter};
use crate::store::reports::{ReportError, Reports};

/// How calls are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

/// All calls that match, as the principal may see them. It is cut off when `visit` ends or it takes longer than configured.
pub(super) fn body(state: &State, principal: Principal, filter: Filter, format: Format, visit: Visit) -> Body {
    let limit: Duration = state.config.now().limits.export;
    let export = Export {
        batches: calls::all(Reports::clone(&state.reports.now()), filter).boxed(),
        late: Box::pin(tokio::time::sleep(limit)),
        state: state.clone(),
        stage: Stage::Heading,
        rows: 0,
        principal,
        format,
        visit,
    };
    Body::from_bytes_stream(unfold(export, Export::next))
}

type Batch = Result<Vec<CallRecord>, ReportError>;

/// An export on its way.
struct Export {
    state: State,
    principal: Principal,
    format: Format,
    visit: Visit,
    batches: BoxStream<'static, Batch>,
    late: Pin<Box<Sleep>>,
    stage: Stage,
    rows: usize,
}

/// What comes next.
enum Stage {
    Heading,
    Rows,
    Nothing,
}

impl Export {
    /// The next lines. After an error nothing follows, the count least of all.
    async fn next(mut self) -> Option<(io::Result<Vec<u8>>, Self)> {
        let lines = match self.stage {
            Stage::Heading => {
                self.stage = Stage::Rows;
                if self.format == Format::Csv { record(COLUMNS) } else { Ok(Vec::new()) }
            }
            Stage::Rows => self.rows().await,
            Stage::Nothing => return None,
        };
        if let Err(error) = &lines {
            self.stage = Stage::Nothing;
            tracing::warn!(user = self.principal.user.0, rows = self.rows, %error, "an export was cut off");
        }
        Some((lines, self))
    }

    async fn rows(&mut self) -> io::Result<Vec<u8>> {
        let batch = tokio::select! {
            biased;
            () = self.visit.ended() => return Err(io::Error::other("the right to it has ended")),
            () = &mut self.late => return Err(io::Error::other("it took too long")),
            batch = self.batches.next() => batch,
        };
        let Some(batch) = batch else {
            self.stage = Stage::Nothing;
            return last_line(self.rows, self.format);
        };
        let batch = batch.map_err(io::Error::other)?;
        self.rows += batch.len();
        // Names and what may be seen of clients: as of now, not as of the beginning.
        let viewer = viewer(&self.state, &self.principal).await.map_err(io::Error::other)?;
        lines(&batch, &viewer, self.format)
    }
}

fn lines(batch: &[CallRecord], viewer: &Viewer, format: Format) -> io::Result<Vec<u8>> {
    let lines: io::Result<Vec<_>> = batch.iter().map(|call| line(&viewer.call(call), format)).collect();
    Ok(lines?.concat())
}

fn line(call: &Call, format: Format) -> io::Result<Vec<u8>> {
    match format {
        Format::Csv => record(cells(call)),
        Format::Ndjson => Ok(format!("{}\n", call.to_json_string()).into_bytes()),
    }
}

fn last_line(rows: usize, format: Format) -> io::Result<Vec<u8>> {
    match format {
        Format::Csv => record(["rows".to_owned(), rows.to_string()]),
        Format::Ndjson => Ok(format!("{{\"rows\":{rows}}}\n").into_bytes()),
    }
}

fn record(cells: impl IntoIterator<Item: AsRef<str>>) -> io::Result<Vec<u8>> {
    // RFC 4180.
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    for cell in cells {
        writer.write_field(harmless(cell.as_ref()).as_bytes()).map_err(io::Error::other)?;
    }
    writer.write_record(None::<&[u8]>).map_err(io::Error::other)?;
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

const COLUMNS: [&str; 31] = [
    "call_id",
    "arrived_at",
    "ringing_at",
    "answered_at",
    "answered_after",
    "answered_before",
    "ended_at",
    "ended_after",
    "ended_before",
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
    "talk_min_ms",
    "talk_max_ms",
    "ending",
    "hung_up_by",
    "dialstatus",
    "sip_code",
    "q850_cause",
    "dials",
    "handled_by",
];

/// The cells of a row, in the order of [`COLUMNS`].
fn cells(call: &Call) -> [String; 31] {
    let client = call.client.as_ref();
    [
        call.call_id.clone(),
        call.arrived_at.to_rfc3339(),
        or_empty(call.ringing_at.map(|at| at.to_rfc3339())),
        or_empty(call.answered_at.map(|at| at.to_rfc3339())),
        or_empty(call.answered_after.map(|at| at.to_rfc3339())),
        or_empty(call.answered_before.map(|at| at.to_rfc3339())),
        call.ended_at.to_rfc3339(),
        or_empty(call.ended_after.map(|at| at.to_rfc3339())),
        or_empty(call.ended_before.map(|at| at.to_rfc3339())),
        call.did.clone(),
        or_empty(call.caller.as_deref()),
        or_empty(call.caller_name.as_deref()),
        call.caller_presentation.clone(),
        or_empty(call.seller_id),
        or_empty(call.seller_name.as_deref()),
        or_empty(call.campaign_id),
        or_empty(call.campaign_name.as_deref()),
        or_empty(call.link_id),
        or_empty(client.map(|client| client.id)),
        or_empty(client.and_then(|client| client.name.as_deref())),
        call.ring_ms.to_string(),
        call.talk_ms.to_string(),
        call.talk_min_ms.to_string(),
        call.talk_max_ms.to_string(),
        call.ending.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_stay_in_their_cell_and_every_cell_is_harmless() {
        let written = record(["a\"b", "c,d", "e\r\nf", "=1", "x;=2"]).expect("written");
        let expected = "\"a\"\"b\",\"c,d\",\"e\r\nf\",'=1,x;'=2\r\n";
        assert_eq!(String::from_utf8(written).expect("text"), expected);
    }
}
