//! PURE: what a node that is shared with a site cannot give, or does not by itself.

use super::answers::Running;
use super::kind::Kind;
use super::modules::Modules;
use super::ours::is_true;
use super::site::Site;
use super::sorcery::Mappings;
use super::{Program, Wanted};

/// The module by which the dialplan keeps a call out of the CDR.
const CDR: &str = "func_cdr.so";
/// ARI's own, in milliseconds.
const WRITE_TIMEOUT: u32 = 100;

/// Whether calls get CDRs of the site's that the dialplan can turn off.
pub(super) fn has_cdr(site: &Site, program: &Program) -> bool {
    is_on(site, "cdr.conf", true) && is_loaded(site, program, CDR)
}

/// `enable` in the file's `[general]`.
fn is_on(site: &Site, file: &str, otherwise: bool) -> bool {
    site.other(file).value("general", "enable").map_or(otherwise, is_true)
}

fn is_loaded(site: &Site, program: &Program, module: &str) -> bool {
    Modules::of(site).loads(module) && program.has(module) != Some(false)
}

/// What is to be known, one sentence or two each.
pub(super) fn notes(site: &Site, wanted: &Wanted, program: &Program, running: Option<&Running>) -> Vec<String> {
    let loaded = &|module: &str| match running {
        Some(running) => running.modules.contains(module),
        None => is_loaded(site, program, module),
    };
    let replacing = loaded("res_pjsip_refer.so").then(|| {
        "res_pjsip_refer is loaded: an INVITE with Replaces takes a call's place, whatever allow_transfer says. Call centres' INVITEs find no \
         extension here and are refused with 404, but for the pick-up one (features.conf), and carriers' are let in: a call of which a \
         party is replaced is ended, and its record says so"
            .to_owned()
    });
    let http = site.reading(Kind::Http);
    let server = (!http.value("general", "enabled").is_some_and(is_true)).then(|| {
        let address = http.value("general", "bindaddr").unwrap_or("127.0.0.1");
        format!(
            "Asterisk's HTTP server is off, and will be on, on {address}: for the site's own ARI users and manager.conf's webenabled, too"
        )
    });
    // Only where nobody asks for it otherwise.
    let identifier = "res_pjsip_endpoint_identifier_user.so";
    let by_name = Modules::of(site).to_load(program, wanted).iter().any(|name| name == identifier).then(|| {
        format!(
            "{} will be loaded: an endpoint of yours without auth, and without identify_by = ip, is then anybody's who has its name in From",
            identifier.trim_end_matches(".so")
        )
    });
    let shared = Mappings::of(site, wanted).taken().any(|(object, _)| object == "identify").then(|| {
        "clients' own addresses are not known to Asterisk, which lists only the site's: a client's own INVITE is refused with 401 instead of 404"
            .to_owned()
    });
    let readings = Kind::ALL.map(|kind| site.reading(kind));
    let execs = readings.iter().flat_map(|reading| &reading.execs);
    replacing
        .into_iter()
        .chain(of_accounts(site, wanted, program))
        .chain(of_load(site))
        .chain(of_doors(loaded))
        .chain(server)
        .chain(by_name)
        .chain(shared)
        .chain(execs.map(|file| format!("{file} has an #exec: what it prints is not known here")))
        .collect()
}

/// Who else writes down our calls.
fn of_accounts(site: &Site, wanted: &Wanted, program: &Program) -> impl Iterator<Item = String> {
    let cdr = is_on(site, "cdr.conf", true).then(|| match (has_cdr(site, program), wanted.site_cdr) {
        (_, true) => "the site's CDR has rows of our calls, too, as --site-cdr says",
        (true, false) => "the site's CDR has no rows of our calls (--site-cdr lets it have them)",
        (false, false) => {
            "the site's CDR has rows of our calls, too: func_cdr.so is not loaded, which could keep them out"
        }
    });
    let cel = "the site's CEL has rows of our calls, too: Asterisk keeps no single call out of it";
    cdr.into_iter().chain(is_on(site, "cel.conf", false).then_some(cel)).map(str::to_owned)
}

/// Settings of the whole Asterisk under which our calls fare worse than on a node of our own.
fn of_load(site: &Site) -> impl Iterator<Item = String> {
    let clears = site.reading(Kind::Extensions).value("general", "clearglobalvars").is_some_and(is_true).then(|| {
        "clearglobalvars = yes in extensions.conf: each reload of the dialplan takes the heartbeat away for a second, in which new calls wait \
         instead of falling back"
            .to_owned()
    });
    let timeout = site.reading(Kind::Ari).value("general", "websocket_write_timeout");
    let timeout = timeout.and_then(|value| value.parse().ok()).unwrap_or(WRITE_TIMEOUT);
    let slow = (timeout < 500).then(|| {
        format!(
            "websocket_write_timeout is {timeout} ms, for all ARI users: a controller that cannot read for so long loses its socket, and calls \
             wait until it is back; 800 in ari.conf's [general] is better{}",
            if site.freepbx { " (FreePBX: ari_general_custom.conf)" } else { "" }
        )
    });
    let trigger = site.objects("global").find_map(|section| section.value("taskprocessor_overload_trigger"));
    let overload = trigger.is_none_or(|value| value == "global").then(|| {
        "any full queue in Asterisk makes PJSIP ignore new INVITEs, the site's and ours (taskprocessor_overload_trigger = global)".to_owned()
    });
    let messages = (!declines(site)).then(|| {
        "stasis.conf lets Asterisk make messages of every variable and RTCP report: each of our calls costs it more than on a node of our own"
            .to_owned()
    });
    [clears, slow, overload, messages].into_iter().flatten()
}

/// What is open that a node of our own has shut.
fn of_doors(loaded: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let doors = [
        ("res_pjsip_endpoint_identifier_anonymous.so", "an endpoint named anonymous would let strangers in"),
        ("res_pjsip_messaging.so", "SIP messages are taken"),
        ("res_pjsip_transport_websocket.so", "browsers can speak SIP, where http.conf lets them"),
    ];
    doors.into_iter().filter(move |(module, _)| loaded(module)).map(|(module, what)| {
        format!("{} is loaded: {what}; it is the site's, and none of ours uses it", module.trim_end_matches(".so"))
    })
}

/// Whether the messages are not made that nobody of ours reads.
fn declines(site: &Site) -> bool {
    let stasis = site.other("stasis.conf");
    let section = stasis.section("declined_message_types");
    section.is_some_and(|section| section.values("decline").any(|value| value == "ast_channel_varset_type"))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{debian, file, freepbx, program, realtime, wanted};
    use super::super::folder::Folder;
    use super::*;

    fn told(folder: &Folder) -> String {
        notes(&Site::of(folder), &wanted(), &program(), None).join("\n")
    }

    #[test]
    fn what_stands_in_the_files_is_told() {
        let mut site = debian();
        let stock = told(&site);
        assert!(
            stock.contains("no rows of our calls") && !stock.contains("CEL") && !stock.contains("clearglobalvars"),
            "{stock}"
        );
        assert!(stock.contains("websocket_write_timeout is 100 ms") && stock.contains("stasis.conf"), "{stock}");
        site.write("cdr.conf", file("[general]\nenable=no\n"));
        site.write("cel.conf", file("[general]\nenable=yes\n"));
        site.write("ari.conf", file("[general]\nwebsocket_write_timeout = 800\n"));
        site.write("stasis.conf", file("[declined_message_types]\ndecline=ast_channel_varset_type\n"));
        site.write("extensions.conf", file("[general]\nclearglobalvars=yes\n#exec /bin/x\n"));
        site.write("pjsip.conf", file("[global]\ntype=global\ntaskprocessor_overload_trigger=pjsip_only\n"));
        let other = told(&site);
        assert!(!other.contains("CDR") && other.contains("CEL") && other.contains("clearglobalvars"), "{other}");
        assert!(
            !other.contains("timeout is") && !other.contains("stasis.conf") && !other.contains("trigger"),
            "{other}"
        );
        assert!(other.contains("#exec"), "{other}");
        assert!(told(&freepbx()).contains("ari_general_custom.conf"));
        assert!(told(&realtime()).contains("401"));
    }

    #[test]
    fn what_runs_counts_for_more_than_what_would_be_loaded() {
        let refer = "res_pjsip_refer.so".to_owned();
        let has = Program { modules: Some([refer.clone()].into()), ..program() };
        let told = |running: Option<&Running>| {
            notes(&Site::of(&debian()), &wanted(), &has, running).join("\n").contains("Replaces")
        };
        assert!(told(None));
        assert!(!told(Some(&Running::default())));
        assert!(told(Some(&Running { modules: [refer].into(), ..Running::default() })));
    }

    #[test]
    fn rows_of_our_calls_are_kept_out_where_that_can_be_done() {
        let has = |folder: &Folder, program: &Program| has_cdr(&Site::of(folder), program);
        assert!(has(&debian(), &program()));
        let without = Program { modules: Some([].into()), ..program() };
        assert!(!has(&debian(), &without));
        let mut off = debian();
        off.write("cdr.conf", file("[general]\nenable=no\n"));
        assert!(!has(&off, &program()));
    }
}
