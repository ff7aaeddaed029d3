use proptest::prelude::*;

use super::*;

const LONDON: &str = "+442071234567";

#[test]
fn what_has_one_meaning_is_read_however_it_is_written() {
    for written in [
        "+442071234567",
        " +44 20 7123 4567 ",
        "+44-20-7123-4567",
        "+44.20.7123.4567",
        "+44 (0)20 7123 4567",
        "(+44) 20 7123 4567",
        "+44 (20) 7123 4567",
        "+4402071234567",
        "'+442071234567",
        "\u{2019}+442071234567",
        "=\"+442071234567\"",
        "=\"\"+442071234567\"\"",
        "= \"+44 20 7123 4567\"",
        "=+442071234567",
        "\"+442071234567\"",
        "+442071234567.0",
        "+442071234567,00",
        "'+442071234567.0",
        "+44\u{a0}20\u{a0}7123\u{a0}4567",
        "+44\u{202f}20\u{2009}7123\u{3000}4567",
        "+44\u{2013}20\u{2011}7123\u{2014}4567",
        "+44\u{2212}20\u{2212}7123\u{2212}4567",
        "\u{feff}+442071234567",
        "\u{202a}+442071234567\u{202c}",
        "+44\u{200b}20\u{200d}71\u{ad}234567",
        "＋４４２０７１２３４５６７",
        "+٤٤٢٠٧١٢٣٤٥٦٧",
        "tel:+44-20-7123-4567",
        "+442071234567\r\n",
        "\t+442071234567\t",
        "+ 44 2071234567",
    ] {
        assert_eq!(read(written), Ok(Number::E164(LONDON.to_owned())), "{written:?}");
        assert_eq!(read_marked(written, false), Ok(Number::E164(LONDON.to_owned())), "{written:?}");
        let marked = read_marked(written, true).expect_err("it is no raw text");
        assert!(marked.to_string().ends_with("is the E.164 number +442071234567: leave raw out"), "{marked}");
    }
}

#[test]
fn what_has_no_meaning_or_several_is_refused_whatever_it_is_marked_as() {
    use FaultKind::{Ambiguous, Label, LostDigits, Missing, NoText, Quantity, SheetError};
    for (written, kind) in [
        ("", Missing),
        (" \u{a0}\u{200b}", Missing),
        ("''", Missing),
        ("=\"\"", Missing),
        ("4.42079E+11", LostDigits),
        ("4,42079E+11", LostDigits),
        ("+4.42079E+11", LostDigits),
        ("'4.42079e+11", LostDigits),
        ("=\"4.42079E+11\"", LostDigits),
        ("4.42079E+011", LostDigits),
        ("442079E+6", LostDigits),
        ("4.42071234567E11", LostDigits),
        ("4.42079 E+11", LostDigits),
        ("４.４２０７９Ｅ＋１１", LostDigits),
        ("4.42079*10^11", LostDigits),
        ("-4.42079E+11", LostDigits),
        ("1E+12", LostDigits),
        ("#N/A", SheetError),
        ("#NV", SheetError),
        ("#REF!", SheetError),
        ("#DIV/0!", SheetError),
        ("########", SheetError),
        ("Err:502", SheetError),
        ("number", Label),
        ("Number", Label),
        ("DID", Label),
        ("Total", Label),
        ("Total:", Label),
        ("Grand Total", Label),
        ("Total 12", Label),
        ("n/a", Label),
        ("null", Label),
        ("-", Label),
        ("442071234567.0", Quantity),
        ("442071234567,00", Quantity),
        ("'442071234567.0", Quantity),
        ("-442071234567.0", Quantity),
        ("+44.20.7123.456.0", Ambiguous),
        ("+44 20 7123 4567..", Ambiguous),
        ("+4420712345...", Ambiguous),
        ("a b", NoText),
        ("020 7123 4567", NoText),
        ("+44 20 7123 4567 x12", NoText),
        ("+44 20 7123 4567 / 68", NoText),
        ("+44 20 7123 4567, +44 20 7123 4568", NoText),
        ("naïve", NoText),
        ("+442071234…", NoText),
        ("４２a\u{7}", NoText),
    ] {
        for raw in [false, true] {
            let fault = read_marked(written, raw).expect_err(written);
            assert_eq!(fault.kind, kind, "{written:?}");
            assert!(fault.kind == Missing || fault.to_string().contains(&format!("{written:?}")), "{fault}");
        }
    }
    let long = "4".repeat(65);
    assert_eq!(read(&long).expect_err("too long").kind, NoText);
    assert!(read(&"\u{7}".repeat(10_000)).expect_err("no text").to_string().len() < 1000, "an error stays short");
}

#[test]
fn what_is_no_e164_number_needs_its_mark() {
    for (written, stored) in [
        ("4155550101", "4155550101"),
        ("14155550101", "14155550101"),
        ("0014155550101", "0014155550101"),
        ("02071234567", "02071234567"),
        ("442071234567", "442071234567"),
        ("00442071234567", "00442071234567"),
        ("'02071234567", "02071234567"),
        ("=\"02071234567\"", "02071234567"),
        ("\u{feff} 999 ", "999"),
        ("９９９", "999"),
        ("1800FLOWERS", "1800FLOWERS"),
        ("sales", "sales"),
        ("trunk-7", "trunk-7"),
        ("12E4", "12E4"),
        ("*69#", "*69#"),
        ("10.0.0.7", "10.0.0.7"),
        ("+442071234567;npdi", "+442071234567;npdi"),
        ("+442071234567/68", "+442071234567/68"),
        ("++442071234567", "++442071234567"),
    ] {
        assert_eq!(read_marked(written, true), Ok(Number::Raw(stored.to_owned())), "{written:?}");
        let fault = read_marked(written, false).expect_err(written).kind;
        let expected = if stored.starts_with('+') { FaultKind::NoE164 } else { FaultKind::NotMarked };
        assert_eq!(fault, expected, "{written:?}");
    }
    for written in ["+0123", "+4420", "+12", "+020794609580", "+4420712345678901", "+15550001"] {
        let fault = read_marked(written, false).expect_err(written);
        assert_eq!(fault.kind, FaultKind::NoE164, "{written:?}");
        assert!(read_marked(written, true).is_ok(), "{written:?}");
    }
}

#[test]
fn a_user_part_needs_no_escapes() {
    assert!(["sales", "trunk-7", "*69#", "+4420", "o'neill"].into_iter().all(can_be_user_part));
    assert!(!["a@b", "a:b", "<a>", "a\"b", "a%41", "a;b", "a b", "é"].into_iter().any(can_be_user_part));
}

proptest! {
    /// What is read is stored so that it is read as the same again: by this rule, and by every node's.
    #[test]
    fn what_is_stored_is_read_as_itself(written in "\\PC{0,40}|[+'=\"0-9 .,()E-]{0,24}") {
        if let Ok(number) = read(&written) {
            prop_assert_eq!(read_marked(number.text(), number.is_raw()), Ok(number.clone()), "from {:?}", written);
            let by_node = Normaliser::default().e164(number.text());
            match &number {
                Number::E164(text) => prop_assert_eq!(by_node.as_ref(), Some(text)),
                // Only with user parameters, which are part of no number that is written down.
                Number::Raw(text) => prop_assert!(by_node.is_none() || text.contains(';'), "{text:?}"),
            }
        }
    }

    /// Whatever stands around and between its digits, a number is read as itself or not at all.
    #[test]
    fn separators_change_no_digit(at in 1_usize..11, mark in "[ \u{a0}\u{2013}\u{2212}\u{200b}.()-]{1,3}") {
        let (head, tail) = LONDON.split_at(at + 1);
        if let Ok(number) = read(&format!("{head}{mark}{tail}")) {
            prop_assert_eq!(number.text(), LONDON);
        }
    }
}
