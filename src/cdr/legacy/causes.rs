//! PURE: Q.850 causes, as a number or in the words of those who write them out.

/// Q.850 (ITU-T) causes by their names in Asterisk (`AST_CAUSE_…`) and FreeSWITCH, letters and digits only.
const NAMES: &[(i16, &[&str])] = &[
    (0, &["NOTDEFINED", "UNKNOWN", "NONE"]),
    (1, &["UNALLOCATED", "UNALLOCATEDNUMBER"]),
    (2, &["NOROUTETRANSITNET"]),
    (3, &["NOROUTEDESTINATION", "NOROUTE"]),
    (5, &["MISDIALLEDTRUNKPREFIX"]),
    (6, &["CHANNELUNACCEPTABLE"]),
    (7, &["CALLAWARDEDDELIVERED"]),
    (8, &["PREEMPTED"]),
    (14, &["NUMBERPORTEDNOTHERE"]),
    (16, &["NORMALCLEARING", "NORMALCALLCLEARING", "NORMAL"]),
    (17, &["USERBUSY", "BUSY"]),
    (18, &["NOUSERRESPONSE"]),
    (19, &["NOANSWER", "USERALERTINGNOANSWER"]),
    (20, &["SUBSCRIBERABSENT"]),
    (21, &["CALLREJECTED", "REJECTED"]),
    (22, &["NUMBERCHANGED"]),
    (23, &["REDIRECTEDTONEWDESTINATION"]),
    (26, &["ANSWEREDELSEWHERE"]),
    (27, &["DESTINATIONOUTOFORDER"]),
    (28, &["INVALIDNUMBERFORMAT"]),
    (29, &["FACILITYREJECTED"]),
    (30, &["RESPONSETOSTATUSENQUIRY", "STATUSENQUIRY"]),
    (31, &["NORMALUNSPECIFIED"]),
    (34, &["NORMALCIRCUITCONGESTION", "CIRCUITCONGESTION", "CONGESTION"]),
    (38, &["NETWORKOUTOFORDER", "FAILURE"]),
    (41, &["NORMALTEMPORARYFAILURE", "TEMPORARYFAILURE"]),
    (42, &["SWITCHCONGESTION", "SWITCHINGEQUIPMENTCONGESTION"]),
    (43, &["ACCESSINFODISCARDED"]),
    (44, &["REQUESTEDCHANUNAVAIL"]),
    (50, &["FACILITYNOTSUBSCRIBED"]),
    (52, &["OUTGOINGCALLBARRED"]),
    (54, &["INCOMINGCALLBARRED"]),
    (57, &["BEARERCAPABILITYNOTAUTH"]),
    (58, &["BEARERCAPABILITYNOTAVAIL"]),
    (65, &["BEARERCAPABILITYNOTIMPL"]),
    (66, &["CHANNOTIMPLEMENTED", "NOSUCHDRIVER"]),
    (69, &["FACILITYNOTIMPLEMENTED"]),
    (81, &["INVALIDCALLREFERENCE"]),
    (88, &["INCOMPATIBLEDESTINATION"]),
    (95, &["INVALIDMSGUNSPECIFIED"]),
    (96, &["MANDATORYIEMISSING"]),
    (97, &["MESSAGETYPENONEXIST"]),
    (98, &["WRONGMESSAGE"]),
    (99, &["IENONEXIST"]),
    (100, &["INVALIDIECONTENTS"]),
    (101, &["WRONGCALLSTATE"]),
    (102, &["RECOVERYONTIMEREXPIRE"]),
    (103, &["MANDATORYIELENGTHERROR"]),
    (111, &["PROTOCOLERROR"]),
    (127, &["INTERWORKING"]),
];

/// The cause that `text` means: `16`, `16 - Normal Clearing`, `Normal Clearing (16)`, `Q.850;cause=16`, `NORMAL_CLEARING`. `None` where it
/// means none.
pub(super) fn read(text: &str) -> Option<i16> {
    let text = text.trim();
    let whole = text.strip_suffix(".0").unwrap_or(text);
    if !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return within(whole);
    }
    let word: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    let word = word.strip_prefix("ASTCAUSE").unwrap_or(&word);
    if let Some((cause, _)) = NAMES.iter().find(|(_, names)| names.contains(&word)) {
        return Some(*cause);
    }
    let lower = text.to_ascii_lowercase();
    let after = |mark: &str| lower.split_once(mark).map(|(_, rest)| rest.trim_start());
    // A word beside the number: `-1 x` is no cause 1.
    let begins = text.starts_with(|c: char| c.is_ascii_digit()).then_some(lower.as_str());
    let number = after("cause=").or_else(|| after("(")).or(begins)?;
    let (digits, rest) = number.split_at(number.bytes().take_while(u8::is_ascii_digit).count());
    if rest.starts_with(|c: char| c.is_alphanumeric() || c == '.') { None } else { within(digits) }
}

fn within(digits: &str) -> Option<i16> {
    digits.parse().ok().filter(|cause| (0..=127).contains(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_a_number_or_its_name_and_nothing_else_is_one() {
        for (text, cause) in [
            ("16", Some(16)),
            (" 17 ", Some(17)),
            ("16.0", Some(16)),
            ("0", Some(0)),
            ("NORMAL_CLEARING", Some(16)),
            ("Normal Clearing", Some(16)),
            ("AST_CAUSE_USER_BUSY", Some(17)),
            ("16 - Normal Clearing", Some(16)),
            ("Normal Clearing (16)", Some(16)),
            ("Q.850;cause=34;text=\"no circuit\"", Some(34)),
            ("no answer", Some(19)),
            ("128", None),
            ("-1", None),
            ("16a", None),
            ("something else", None),
            ("", None),
        ] {
            assert_eq!(read(text), cause, "{text}");
        }
    }

    #[test]
    fn every_name_stands_once() {
        let mut names: Vec<_> = NAMES.iter().flat_map(|(_, names)| *names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
