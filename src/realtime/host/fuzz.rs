//! PURE: Whatever is written for a host, a user name or a realm: what is taken has only characters that mean nothing else to Asterisk.

use proptest::prelude::*;

use super::*;
use crate::mutations::TEXTS;

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,30}",
        "[a-zA-Z0-9.:_ @/+-]{0,40}",
        "[a-z0-9-]{1,64}(\\.[a-z0-9-]{1,64}){0,4}",
        "[0-9]{1,3}(\\.[0-9]{1,3}){0,4}",
        "[0-9a-f:.%\\[\\]]{0,40}",
        prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        ("[a-z.]{0,8}", prop::sample::select(&TEXTS[..]), "[a-z.]{0,8}").prop_map(|(a, odd, b)| format!("{a}{odd}{b}")),
    ]
}

proptest! {
    #[test]
    fn a_host_is_harmless_and_reads_back(text in texts()) {
        let Ok(host) = text.parse::<Host>() else { return Ok(()) };
        let shown = host.to_string();
        prop_assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b)), "{shown}");
        prop_assert_eq!(shown.parse::<Host>(), Ok(host));
        prop_assert!(shown.len() <= 253 && !shown.is_empty());
    }

    #[test]
    fn a_user_name_and_a_realm_are_harmless_and_read_back(text in texts()) {
        let odd = |c: char| c.is_control() || !c.is_ascii() || ";|&,$(){}[]<>\"'`\\".contains(c);
        if let Ok(name) = text.parse::<SipName>() {
            prop_assert!(!text.contains(odd) && !text.contains([' ', '/', ':']), "{text}");
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(realm) = text.parse::<Realm>() {
            prop_assert!(!text.replace(',', "").contains(odd), "{text}");
            prop_assert_eq!(realm.to_string(), text);
        }
    }
}
