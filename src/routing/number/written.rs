//! PURE: what a DID's number is, by what people and spreadsheets write for it. The one rule for plan, API, CSV and database.
//!
//! A text is read where it has exactly one meaning: E.164 in whatever spelling, or a raw text. What a spreadsheet has spoiled
//! (rounded digits, its errors, headings and totals) is neither.

use std::fmt;

use super::Normaliser;

/// The longest raw text, in characters; the database's column says so too.
const RAW_AT_MOST: usize = 64;
/// Characters of a written text that an error repeats.
const SHOWN_AT_MOST: usize = 64;

/// A DID's number as it is stored and compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Number {
    /// `+` and 7 to 15 digits, as a node reads them.
    E164(String),
    /// What is no such number, exactly as a carrier sends it.
    Raw(String),
}

/// Why a written text is no number of a DID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    written: String,
}

/// What can be wrong with a written number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is there.
    Missing,
    /// A number that a spreadsheet has rounded.
    LostDigits,
    /// A spreadsheet's error, or a column too narrow.
    SheetError,
    /// A column's heading, or a sum.
    Label,
    /// Digits without `+` and with a fraction: a spreadsheet took them for a quantity.
    Quantity,
    /// More than one number could be meant.
    Ambiguous,
    /// Neither E.164 nor possible as raw text.
    NoText,
    /// Begins with `+` and is no E.164 number.
    NoE164,
    /// Can only be a raw text, and is not marked so.
    NotMarked,
    /// Is marked as raw and is an E.164 number: this one.
    MarkedE164(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.written.chars().take(SHOWN_AT_MOST).collect();
        match self.kind {
            FaultKind::Missing => write!(f, "{}", self.kind),
            _ => write!(f, "{shown:?} {}", self.kind),
        }
    }
}

impl fmt::Display for FaultKind {
    /// What is wrong and what is allowed, to follow the text or where it stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::LostDigits => "has lost digits, a spreadsheet rounded it: make the column text and write + and every digit",
            Self::SheetError => "is a spreadsheet's error: use + and digits (E.164)",
            Self::Label => "is a heading or a total: use + and digits (E.164), or leave the row out",
            Self::Quantity => {
                "was a quantity in a spreadsheet, which takes the + away: make the column text and write + and country code"
            }
            Self::Ambiguous => "can be read in more than one way: use + and digits only (E.164)",
            Self::NoText => {
                "is not allowed: use + and digits (E.164), or 1 to 64 visible ASCII characters for what is no number"
            }
            Self::NoE164 => {
                "is not allowed: after + come 7 to 15 digits, country code first, as that country has them (E.164)"
            }
            Self::NotMarked => {
                "is no E.164 number: use + and digits, country code first; what is no such number an admin or staff makes, with \
                 raw = true"
            }
            Self::MarkedE164(number) => return write!(f, "is the E.164 number {number}: leave raw out"),
        })
    }
}

impl std::error::Error for Fault {}

impl Number {
    /// As it is stored.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::E164(text) | Self::Raw(text) => text,
        }
    }

    /// Whether it is no E.164 number.
    #[must_use]
    pub const fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }
}

/// Reads a DID's number that is marked as `raw` or not.
///
/// # Errors
/// What is wrong with it, or that the mark is.
pub fn read_marked(written: &str, raw: bool) -> Result<Number, Fault> {
    let fault = |kind| Fault { kind, written: written.to_owned() };
    match (read(written)?, raw) {
        (Number::E164(number), true) => Err(fault(FaultKind::MarkedE164(number))),
        (Number::Raw(text), false) if text.starts_with('+') => Err(fault(FaultKind::NoE164)),
        (Number::Raw(_), false) => Err(fault(FaultKind::NotMarked)),
        (number, _) => Ok(number),
    }
}

/// Reads a DID's number in a plan, where the mark may be missing: plans had none once, and what they named goes on.
///
/// # Errors
/// As [`read_marked`].
pub fn read_declared(written: &str, raw: Option<bool>) -> Result<Number, Fault> {
    let old_short_number = |text: &str| {
        let digits = text.trim_start_matches('+');
        (4..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    };
    match (read(written)?, raw) {
        (number, None) if !number.text().starts_with('+') || !number.is_raw() || old_short_number(number.text()) => {
            Ok(number)
        }
        (_, raw) => read_marked(written, raw.unwrap_or(false)),
    }
}

/// Reads a DID's number, E.164 or raw, whatever it is marked as.
///
/// # Errors
/// What is wrong with it: it has no meaning, or more than one.
pub fn read(written: &str) -> Result<Number, Fault> {
    let fault = |kind| Fault { kind, written: written.to_owned() };
    let plain = plain(written);
    let text = unwrapped(&plain);
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if dense.is_empty() {
        return Err(fault(FaultKind::Missing));
    }
    if is_sheet_error(&dense) {
        return Err(fault(FaultKind::SheetError));
    }
    if is_label(text) {
        return Err(fault(FaultKind::Label));
    }
    if has_lost_digits(&dense) {
        return Err(fault(FaultKind::LostDigits));
    }
    let dense = match whole(&dense) {
        Some(digits) if digits.starts_with('+') => digits.to_owned(),
        Some(_) => return Err(fault(FaultKind::Quantity)),
        None => dense,
    };
    if dense.starts_with(['+', '(']) && (dense.contains("..") || dense.ends_with(".0")) {
        return Err(fault(FaultKind::Ambiguous));
    }
    if let Some(number) = e164(&dense) {
        return Ok(Number::E164(number));
    }
    let allowed = (1..=RAW_AT_MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if allowed { Ok(Number::Raw(text.to_owned())) } else { Err(fault(FaultKind::NoText)) }
}

/// Whether a raw text can be the user part of a SIP URI as carriers write it, without escapes (RFC 3261, 25.1) and parameters.
#[must_use]
pub fn can_be_user_part(text: &str) -> bool {
    // `#` is not in RFC 3261's list, and is sent all the same.
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/#".contains(&byte))
}

/// E.164 of a text without white space. User parameters are part of no number that is written down.
fn e164(dense: &str) -> Option<String> {
    let number: String = dense.chars().filter(|c| !matches!(c, '(' | ')')).collect();
    if number.starts_with('+') && !number.contains(';') { Normaliser::default().e164(&number) } else { None }
}

/// The same in plain ASCII where characters have one there: other digits, dashes, plus signs, spaces and quotes; what cannot be
/// seen is left out.
fn plain(written: &str) -> String {
    written.chars().filter_map(plain_char).collect()
}

fn plain_char(c: char) -> Option<char> {
    Some(match c {
        // Zero-width and directional marks, soft hyphen, byte order mark.
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => return None,
        '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => return None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2043}' | '\u{fe58}' | '\u{fe63}' => '-',
        '\u{2795}' | '\u{fe62}' | '\u{207a}' => '+',
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' => '\'',
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2033}' => '"',
        // Full width.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0)?,
        // Arabic-Indic and Persian digits.
        '\u{660}'..='\u{669}' => char::from_digit(c as u32 - 0x660, 10)?,
        '\u{6f0}'..='\u{6f9}' => char::from_digit(c as u32 - 0x6f0, 10)?,
        c if c.is_whitespace() => ' ',
        c => c,
    })
}

/// Without what marks a cell as text (`'+44…`, `="+44…"`, quotes), or a link as a number (`tel:`).
fn unwrapped(plain: &str) -> &str {
    let mut text = plain.trim();
    loop {
        let inner = if let Some(rest) = text.strip_prefix('=').filter(|rest| rest.trim().starts_with(['+', '"', '\'']))
        {
            rest
        } else if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            inner
        } else if let Some(rest) = text.strip_prefix('\'') {
            rest.strip_suffix('\'').unwrap_or(rest)
        } else if text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:")) {
            &text[4..]
        } else {
            return text;
        };
        text = inner.trim();
    }
}

/// `#N/A`, `#REF!`, in any language; `Err:502`; a column of `#`.
fn is_sheet_error(dense: &str) -> bool {
    let code = dense.strip_prefix('#');
    code.is_some_and(|code| {
        code.starts_with(char::is_alphabetic) || (!code.is_empty() && code.bytes().all(|b| b == b'#'))
    }) || dense.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("err:"))
}

/// What stands above and below a column of numbers, or in place of one that is not there.
fn is_label(text: &str) -> bool {
    const LABELS: &[&str] = &[
        "number",
        "numbers",
        "did",
        "dids",
        "phone",
        "telephone",
        "total",
        "totals",
        "subtotal",
        "sum",
        "count",
        "n/a",
        "na",
        "null",
        "none",
        "nil",
        "nan",
        "undefined",
        "-",
        "--",
    ];
    let word = text.trim_end_matches(':').to_ascii_lowercase();
    LABELS.contains(&word.as_str()) || word.ends_with(" total") || word.starts_with("total ")
}

/// `4.42079E+11`, `4,42079E+11`, `442079E+6`, `4.42071234567E11`, `4.42079*10^11`: what is left of a number beyond a cell's width.
fn has_lost_digits(dense: &str) -> bool {
    let unsigned = dense.strip_prefix(['+', '-']).unwrap_or(dense);
    let mantissa = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(unsigned.len());
    let (mantissa, rest) = unsigned.split_at(mantissa);
    let power =
        rest.strip_prefix(['e', 'E']).or_else(|| rest.strip_prefix("*10^")).or_else(|| rest.strip_prefix("x10^"));
    let Some(power) = power.filter(|_| mantissa.starts_with(|c: char| c.is_ascii_digit())) else { return false };
    let signed = power.strip_prefix(['+', '-']);
    let exponent = signed.unwrap_or(power);
    // A bare `12E4` may be somebody's short text; no spreadsheet writes it so.
    let is_written_so = signed.is_some() || mantissa.contains(['.', ',']) || !rest.starts_with(['e', 'E']);
    is_written_so && !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits before a fraction of nought (`.0`, `,00`), where nothing else but a sign stands there.
fn whole(dense: &str) -> Option<&str> {
    let (digits, fraction) = dense.split_once(['.', ','])?;
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let is_quantity = matches!(fraction, "0" | "00") && !unsigned.is_empty();
    (is_quantity && unsigned.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests;
