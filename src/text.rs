//! PURE: which characters a name, or other text that people read, may have: none that is not seen or that turns what is seen around
//! (Unicode Technical Report 36, section 2.5; RFC 8264, section 9.11 and following). What was stored before the rule stays as it is.

use icu_properties::CodePointSetData;
use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiPresentation, EnumeratedProperty as _,
    GeneralCategory, JoiningType, UnifiedIdeograph,
};

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';

/// What is allowed, when a name is not: it goes into records, logs, tables and a SIP header.
#[must_use]
pub fn name_problem(name: &str) -> Option<String> {
    name_form_problem(name).map(str::to_owned).or_else(|| hidden_problem(name))
}

/// The same, but for characters that are not seen: what every stored name satisfies, however old it is.
#[must_use]
pub fn name_form_problem(name: &str) -> Option<&'static str> {
    let length = name.chars().count();
    let sound = (1..=100).contains(&length) && name.trim() == name && !name.chars().any(char::is_control);
    (!sound).then_some("use 1 to 100 characters, none of them a control character, no space at either end")
}

/// Which character of a text is not seen or turns others around, and what is allowed; controls are another rule's.
#[must_use]
pub fn hidden_problem(text: &str) -> Option<String> {
    hidden(text).map(|found| {
        let number = u32::from(found);
        if is_joiner(found) {
            format!("holds U+{number:04X} where it joins or parts no letters of a script that needs it: leave it out")
        } else if is_selector(found) {
            format!("holds U+{number:04X}, which selects no form of the character before it: leave it out")
        } else {
            format!("holds U+{number:04X}, which is not seen or turns the text around: leave it out")
        }
    })
}

/// The first character that is hidden where it stands.
fn hidden(text: &str) -> Option<char> {
    let characters: Vec<char> = text.chars().collect();
    let is_hidden = |(at, found): (usize, &char)| {
        let (before, after) = (&characters[..at], &characters[at + 1..]);
        let senseless = match *found {
            joiner if is_joiner(joiner) => !joins(joiner, before, after),
            selector if is_selector(selector) => !selects(selector, before, after),
            other => is_invisible(other),
        };
        senseless.then_some(*found)
    };
    characters.iter().enumerate().find_map(is_hidden)
}

fn is_joiner(character: char) -> bool {
    matches!(character, ZWNJ | ZWJ)
}

/// Whether a joiner makes a difference to letters: after a virama, or, for the one that parts, between letters that would join (RFC 5892,
/// appendixes A.1 and A.2). Between any others it is not seen: two names could look the same. That holds for emoji, too: of the sequences
/// that are joined, no two systems show the same as one picture.
fn joins(joiner: char, before: &[char], after: &[char]) -> bool {
    let of_virama = |last: &char| CanonicalCombiningClass::for_char(*last) == CanonicalCombiningClass::Virama;
    if before.last().is_some_and(of_virama) {
        return true;
    }
    let joining = |character: &char| JoiningType::for_char(*character);
    let seen = |joining: &JoiningType| *joining != JoiningType::Transparent;
    let left = before.iter().rev().map(joining).find(seen);
    let right = after.iter().map(joining).find(seen);
    joiner == ZWNJ
        && matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// Whether nothing, or nothing certain, is shown for it: formats, directions, other ends of lines, fillers and blanks that count as
/// letters, and what no two systems show alike.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    use GeneralCategory as C;
    let category = matches!(
        C::for_char(character),
        C::Format | C::LineSeparator | C::ParagraphSeparator | C::PrivateUse | C::Surrogate | C::Unassigned
    );
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character);
    // The blank Braille pattern, and a musical notehead that has nothing to show.
    let blank = matches!(character, '\u{2800}' | '\u{1d159}');
    (category || ignorable || blank) && !is_joiner(character) && !is_selector(character)
}

/// Variation selectors: they say which form of the character before is meant.
fn is_selector(character: char) -> bool {
    matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}')
}

/// Whether the character before has a form that is selected so (Unicode, section 23.4): ideographs, Mongolian, and symbols that are shown
/// as emoji only where it is asked for. The form that a character has anyway is not selected: with or without it would look the same.
fn selects(selector: char, before: &[char], after: &[char]) -> bool {
    let Some(&before) = before.last() else { return false };
    match selector {
        '\u{fe0f}' if before.is_ascii() => {
            matches!(before, '0'..='9' | '#' | '*') && after.first() == Some(&'\u{20e3}')
        }
        '\u{fe0f}' => {
            let emoji = CodePointSetData::new::<Emoji>().contains(before);
            emoji && !CodePointSetData::new::<EmojiPresentation>().contains(before)
        }
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => {
            CodePointSetData::new::<UnifiedIdeograph>().contains(before)
        }
        '\u{180b}'..='\u{180d}' | '\u{180f}' => matches!(before, '\u{1820}'..='\u{18aa}'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_or_turns_text_around_is_refused_by_its_number() {
        let lone = [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2061}',
            '\u{2064}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{206a}',
            '\u{206f}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{f8ff}',
            '\u{fdd0}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffa}',
            '\u{fffb}',
            '\u{ffff}',
            '\u{378}',
            '\u{e0001}',
            '\u{e0020}',
            '\u{e007f}',
            '\u{f0000}',
            '\u{10ffff}',
            '\u{fe0f}',
            '\u{e0100}',
            '\u{180b}',
        ];
        for hidden in lone {
            let told = name_problem(&format!("An{hidden}n")).unwrap_or_else(|| panic!("{hidden:?} is taken"));
            assert!(told.contains(&format!("U+{:04X}", u32::from(hidden))), "{told}");
            assert_eq!(name_form_problem(&format!("An{hidden}n")), None, "old rows that have it stay sound");
        }
    }

    #[test]
    fn names_of_all_scripts_are_taken() {
        for name in [
            "Ann",
            "North & South (GB), no. 7",
            "Zoë",
            "Zoe\u{308}",
            "محمد",
            "می\u{200c}خواهم",
            "क\u{94d}\u{200d}ष",
            "അവന\u{d4d}\u{200d}",
            "山田 太郎",
            "山田\u{3000}太郎",
            "葛\u{e0100}城",
            "Љубица",
            "ויקטוריה",
            "O\u{2019}Neill",
            "👨👩👧",
            "☎\u{fe0f} Acme",
            "辻\u{fe00}",
            "بی\u{64e}\u{200c}نام",
            "ක්\u{200d}රි",
            "I \u{2764}\u{fe0f} calls",
            "1\u{fe0f}\u{20e3} First",
            "ᠮᠣᠩᠭᠣᠯ\u{180b}",
            "\u{fffd}",
        ] {
            assert_eq!(name_problem(name), None, "{name}");
        }
    }

    #[test]
    fn joiners_stand_only_where_letters_would_be_written_otherwise() {
        for name in [
            "\u{200d}",
            "\u{200c}Ann",
            "A \u{200d}b",
            "a\u{200d}\u{200d}b",
            "Ac\u{200c}me",
            "Ac\u{200d}me",
            "Љу\u{200c}бица",
            "山\u{200d}田",
            "می\u{200c}",
            "می\u{200c} خواهم",
            "می\u{200c}a",
            "می\u{200d}خواهم",
            "دا\u{200c}م",
            "क\u{200d}ष",
            "क\u{94d}\u{200d}\u{200d}ष",
            "👨\u{200d}👩",
            "A\u{301}\u{200c}b",
        ] {
            let told = name_problem(name).unwrap_or_else(|| panic!("{name:?} is taken"));
            assert!(told.contains("U+200") && told.contains("letters"), "{told}");
            assert_eq!(name_form_problem(name), None, "old rows that have it stay sound");
        }
    }

    #[test]
    fn selectors_stand_only_where_they_select_a_form() {
        for name in [
            "Acme\u{fe0f}",
            "Acme \u{fe0f}",
            "\u{fe0f}Acme",
            "7\u{fe0f}",
            "7\u{fe0e}\u{20e3}",
            "א\u{fe00}",
            "α\u{fe0f}",
            "👨\u{fe0f}",
            "☎\u{fe0e}",
            "☎\u{fe0f}\u{fe0f}",
            "山\u{fe0f}",
            "山\u{fe05}",
            "山\u{e0100}\u{e0101}",
            "\u{2014}\u{fe00}",
            "あ\u{e0100}",
            "a\u{180b}",
        ] {
            let told = name_problem(name).unwrap_or_else(|| panic!("{name:?} is taken"));
            assert!(told.contains("selects no form"), "{told}");
            assert_eq!(name_form_problem(name), None, "old rows that have it stay sound");
        }
    }

    #[test]
    fn controls_length_and_ends_are_the_first_rule() {
        for name in ["", " a", "a ", "a\u{3000}", "a\tb", "a\u{85}b", "a\u{7f}", &"x".repeat(101)] {
            assert!(name_problem(name).is_some_and(|told| told.starts_with("use 1 to 100")), "{name:?}");
        }
        assert_eq!(name_problem(&"é".repeat(100)), None);
    }
}
