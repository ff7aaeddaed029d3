//! Many DIDs in one body: JSON, or CSV as a spreadsheet writes it.

use std::borrow::Cow;

use csv::{ReaderBuilder, StringRecord, Trim};
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::{MaybeUndefined, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::body::{BYTES_AT_MOST, Body};
use super::dids::{NewDid, NewDids};
use super::error::{ApiError, FieldError, is_full};
use crate::routing::snapshot::Status;

/// Rows of a bulk at most; the schema of [`NewDids`] says so too.
const ROWS_AT_MOST: usize = 1000;
/// Characters of a column's name that an error repeats.
const NAME_AT_MOST: usize = 100;
const COLUMNS: [&str; 4] = ["number", "seller_id", "status", "raw"];

/// The DIDs of a bulk, each with what its fields are called in errors (`items[3].` or `row[5].`).
#[derive(Debug)]
pub(super) struct DidRows(pub(super) Vec<(String, NewDid)>);

impl<'a> ApiExtractor<'a> for DidRows {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        NewDids::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![
            MetaMediaType { content_type: "application/json", schema: NewDids::schema_ref() },
            MetaMediaType { content_type: "text/csv", schema: String::schema_ref() },
        ];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        if request.content_type().is_some_and(is_csv) {
            let bytes = body.take()?.into_bytes_limit(BYTES_AT_MOST).await?;
            return Ok(Self(read(&bytes)?));
        }
        let Body(NewDids { items }) = Body::from_request(request, body, options).await?;
        Ok(Self(items.into_iter().enumerate().map(|(n, did)| (format!("items[{n}]."), did)).collect()))
    }
}

fn is_csv(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
}

/// Reads a heading and rows. Rows are counted as a spreadsheet does: the heading is row 1.
fn read(bytes: &[u8]) -> Result<Vec<(String, NewDid)>, ApiError> {
    let text = decoded(bytes)?;
    let (text, separator) = separated(&text);
    let mut reader =
        ReaderBuilder::new().flexible(true).trim(Trim::All).delimiter(separator).from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| ApiError::malformed(format!("The body is no CSV: {error}."));
    let heading: StringRecord = reader.headers().map_err(unreadable)?.iter().map(column).collect();
    let mut errors = check_heading(&heading);
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let mut rows = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        // The reader's own count stands before the line ends that it skips.
        let begin = record.position().and_then(|at| usize::try_from(at.byte()).ok()).unwrap_or(counted);
        let skipped = text.bytes().skip(begin).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += text.bytes().take(begin + skipped).skip(counted).filter(|byte| *byte == b'\n').count();
        counted = begin + skipped;
        // Spreadsheets write rows that were used once, and are empty now.
        if record.iter().all(is_blank) {
            continue;
        }
        let row = format!("row[{line}].");
        if rows.len() == ROWS_AT_MOST {
            errors.push(FieldError::new(format!("{row}number"), "range", format!("use at most {ROWS_AT_MOST} rows")));
            break;
        }
        let did = read_row(&row, &heading, &record, &mut errors);
        rows.push((row, did));
        if is_full(&errors) {
            break;
        }
    }
    if rows.is_empty() {
        errors.push(FieldError::new("row[2].number", "required", "there is no row but the heading"));
    }
    if errors.is_empty() { Ok(rows) } else { Err(ApiError::invalid(errors)) }
}

/// UTF-8, or what a spreadsheet calls Unicode text: UTF-16 behind its byte order mark.
fn decoded(bytes: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    let wide = |unit: fn([u8; 2]) -> u16, rest: &[u8]| {
        let (pairs, odd) = rest.as_chunks::<2>();
        String::from_utf16(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>()).ok().filter(|_| odd.is_empty())
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest).map(Cow::Owned),
        _ => std::str::from_utf8(bytes).ok().map(|text| Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text))),
    };
    text.ok_or_else(|| ApiError::malformed("The body is no text in UTF-8: save the sheet as CSV UTF-8."))
}

/// The rows and what stands between cells: as a first line `sep=;` says, else what the heading has.
fn separated(text: &str) -> (&str, u8) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let named = first.trim().strip_prefix("sep=").and_then(|named| named.bytes().next());
    if let Some(separator @ (b',' | b';' | b'\t')) = named {
        return (rest, separator);
    }
    let has = |separator: &&u8| first.bytes().any(|byte| byte == **separator);
    (text, [b',', b';', b'\t'].iter().find(has).copied().unwrap_or(b','))
}

/// A column's name as it is meant: in any case, and without what cannot be seen.
fn column(name: &str) -> String {
    let visible = name.chars().filter(|c| !matches!(c, '\u{feff}' | '\u{200b}'));
    visible.collect::<String>().trim().to_ascii_lowercase()
}

fn is_blank(cell: &str) -> bool {
    cell.chars().all(|c| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'))
}

fn check_heading(heading: &StringRecord) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, name) in heading.iter().enumerate() {
        if is_full(&errors) {
            break;
        }
        if name.is_empty() {
            // Of a column without a name: allowed as long as nothing stands in it (`read_row`).
        } else if !COLUMNS.contains(&name) {
            let allowed = format!("is not known here: use {}", COLUMNS.join(", "));
            let name: String = name.chars().take(NAME_AT_MOST).collect();
            errors.push(FieldError::new(format!("row[1].{name}"), "unknown_field", allowed));
        } else if heading.iter().take(at).any(|before| before == name) {
            errors.push(FieldError::new(format!("row[1].{name}"), "duplicate", "is there twice"));
        }
    }
    if !heading.iter().any(|name| name == "number") {
        errors.push(FieldError::new("row[1].number", "required", "is missing: the first row names the columns"));
    }
    errors
}

fn read_row(row: &str, heading: &StringRecord, record: &StringRecord, errors: &mut Vec<FieldError>) -> NewDid {
    let cell = |name: &str| {
        let at = heading.iter().position(|column| column == name);
        at.and_then(|at| record.get(at)).filter(|cell| !str::is_empty(cell))
    };
    let mut wrong =
        |name: &str, code: &str, detail: &str| errors.push(FieldError::new(format!("{row}{name}"), code, detail));
    let unnamed = |(at, cell): (usize, &str)| heading.get(at).is_none_or(str::is_empty) && !is_blank(cell);
    if record.iter().enumerate().any(unnamed) {
        wrong("number", "columns", "the row has a cell where the heading names no column");
    }
    let number = cell("number").unwrap_or_default();
    match number.chars().count() {
        0 => wrong("number", "required", "is missing"),
        1..=64 => {}
        _ => wrong("number", "invalid", "use at most 64 characters"),
    }
    // A whole number that a spreadsheet has given a fraction.
    let whole = |cell: &str| cell.strip_suffix(".0").or_else(|| cell.strip_suffix(",0")).unwrap_or(cell).parse();
    let seller_id = match cell("seller_id").map(whole) {
        None => MaybeUndefined::Undefined,
        Some(Ok(id)) => MaybeUndefined::Value(id),
        Some(Err(_)) => {
            wrong("seller_id", "type", "must be a whole number");
            MaybeUndefined::Undefined
        }
    };
    let status = match cell("status").map(|cell| cell.to_ascii_lowercase().parse::<Status>()) {
        None => MaybeUndefined::Undefined,
        Some(Ok(status)) => MaybeUndefined::Value(status.into()),
        Some(Err(_)) => {
            wrong("status", "value", "must be one of active, paused");
            MaybeUndefined::Undefined
        }
    };
    let raw = match cell("raw").map(|cell| cell.to_ascii_lowercase().parse()) {
        None => MaybeUndefined::Undefined,
        Some(Ok(raw)) => MaybeUndefined::Value(raw),
        Some(Err(_)) => {
            wrong("raw", "type", "must be true or false");
            MaybeUndefined::Undefined
        }
    };
    NewDid { number: number.to_owned(), raw, seller_id, status }
}

#[cfg(test)]
mod tests {
    use poem::error::ResponseError as _;

    use super::*;

    fn rows(text: &str) -> Vec<(String, String)> {
        read(text.as_bytes()).expect("it is read").into_iter().map(|(row, did)| (row, did.number)).collect()
    }

    fn faults(text: &str) -> (u16, String) {
        let error = read(text.as_bytes()).expect_err("it is refused");
        (error.status().as_u16(), format!("{error:?}"))
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        let expected = [("row[2].".to_owned(), "+441".to_owned()), ("row[3].".to_owned(), "+442".to_owned())];
        for text in [
            "number\n+441\n+442\n",
            "\u{feff}number\r\n+441\r\n+442",
            "\"number\",\"status\"\r\n\"+441\",\"paused\"\r\n\"+442\",\r\n",
            " number , seller_id\n +441 , 7\n+442,\n",
            "status,number\n,+441\nactive,+442\n",
            "Number;Seller_ID;\r\n+441;7.0;\r\n+442;;\r\n",
            "\"number\"\tstatus\n+441\tActive\n\"+442\"\tPAUSED\n",
            "sep=;\r\nnumber;status\r\n+441;\r\n+442;\r\n",
            "\u{feff}\u{feff}\"number\",,\n+441,,\n+442,,\n,,\n \u{a0},,\n",
            "number,raw\n+441,FALSE\n+442,true\n",
        ] {
            assert_eq!(rows(text), expected, "{text:?}");
        }
        assert_eq!(rows("number\n+441\n\n+442\n")[1].0, "row[4].", "as a spreadsheet counts");
        assert_eq!(rows("number,status\n+441,\n,\n+442,\n")[1].0, "row[4].", "what is left out counts");
        let wide = "\u{feff}number\tstatus\r\n+441\t\r\n+442\t\r\n".encode_utf16();
        let (little, big): (Vec<_>, Vec<_>) = wide.map(|unit| (unit.to_le_bytes(), unit.to_be_bytes())).unzip();
        for bytes in [little.concat(), big.concat()] {
            let read = read(&bytes).expect("it is read").into_iter().map(|(row, did)| (row, did.number));
            assert_eq!(read.collect::<Vec<_>>(), expected);
        }
        assert_eq!(read(b"\xff\xfen\0u\0m").expect_err("half a character").status().as_u16(), 400);
    }

    #[test]
    fn each_bad_row_is_named() {
        for (text, told) in [
            ("", "row[1].number"),
            ("number\n", "row[2].number"),
            ("+441\n", "row[1].+441"),
            ("number,colour\n+441,red\n", "row[1].colour"),
            ("number,number\n+441,+442\n", "row[1].number"),
            ("number,status\n+441,active\n,active\n", "row[3].number"),
            ("number,seller_id\n+441,acme\n", "row[2].seller_id"),
            ("number,status\n+441,gone\n", "row[2].status"),
            ("number\n+441,x\n", "row[2].number"),
            ("number,\n+441,x\n", "row[2].number"),
            ("number,raw\n+441,perhaps\n", "row[2].raw"),
            ("number,seller_id\n+441,7.5\n", "row[2].seller_id"),
            ("number;status\n+441,active\n,active;active\n;active\n", "row[4].number"),
            ("number,status\n,,\n", "row[2].number"),
        ] {
            let (status, error) = faults(text);
            assert!(status == 422 && error.contains(told), "{text:?}: {error}");
        }
        assert_eq!(read(b"number\n\xff\n").expect_err("no text").status().as_u16(), 400);
        let many = format!("number\n{}", "+441\n".repeat(ROWS_AT_MOST + 1));
        assert!(faults(&many).1.contains("row[1002].number"));
    }

    #[test]
    fn errors_stay_few_and_short_whatever_is_sent() {
        let refused = |text: String| read(text.as_bytes()).expect_err("it is refused");
        let error = refused(format!("number{}\n+441\n", ",x".repeat(100_000)));
        assert_eq!(error.errors().len(), 100);
        let error = refused(format!("number,{}\n+441\n", "x".repeat(200_000)));
        assert!(error.errors().iter().all(|error| error.field.len() < 120));
        assert_eq!(refused(format!("number,status\n{}", ",gone\n".repeat(900))).errors().len(), 100);
    }
}
