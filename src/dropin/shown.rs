//! PURE: what would be done, as text.

use std::fmt::Write as _;
use std::path::Path;

use super::changes::Change;
use super::diff::diff;
use super::plan::{Plan, Survey, by_file};
use super::sharing::Share;

/// Settings whose values are shown to nobody.
const SECRET: [&str; 2] = ["password", "dbpass"];

/// The whole of it: what changes, how it comes into force, what is to be known, and what stops it.
pub(super) fn render(survey: &Survey, plan: &Plan) -> String {
    let mut text = String::new();
    let version =
        survey.program.version.map_or("Asterisk of an unknown version".to_owned(), |(major, minor, patch)| {
            format!("Asterisk {major}.{minor}.{patch}")
        });
    let runs = if survey.running.is_some() { "running" } else { "which does not run, or does not answer us" };
    let _ = writeln!(text, "{}: {version}, {runs}", survey.folder.path);
    for (name, change) in by_file(&plan.changes) {
        let old = lines(survey.folder.bytes(name));
        let new = match change {
            Change::Write { file, .. } => lines(Some(&file.bytes)),
            Change::Delete { .. } => String::new(),
        };
        let what = if old.is_empty() { " (new)" } else { "" };
        let _ = writeln!(text, "\n{}/{name}{what}", survey.folder.path);
        for line in diff(&old, &new) {
            let _ = writeln!(text, "  {line}");
        }
    }
    if plan.is_empty() {
        text.push_str("\nnothing to do: everything is as this release writes it\n");
    } else {
        text.push_str("\nSteps\n");
        let shares = plan.shares.iter().map(share);
        let files = (!plan.changes.is_empty())
            .then(|| "write the files above, each as a whole; the old ones are kept in capconduit.d/before".to_owned());
        let reloads = plan.console.iter().map(|command| format!("asterisk -rx '{command}'"));
        for step in shares.chain(files).chain(reloads).chain(["check, and put everything back if it fails".to_owned()])
        {
            let _ = writeln!(text, "  {step}");
        }
    }
    if plan.restart {
        text.push_str(
            "  one restart of Asterisk, for sorcery.conf alone: yours to time (--restart when-idle, or now)\n",
        );
    }
    section(&mut text, "On a node that is shared", &plan.notes);
    section(&mut text, "Left to you", &plan.left);
    let obstacles: Vec<String> =
        plan.obstacles.iter().map(|one| format!("{}\n    → {}", one.found, one.mend)).collect();
    section(&mut text, "What stops it", &obstacles);
    text
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{title}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
}

/// A file's text, secrets aside.
fn lines(bytes: Option<&[u8]>) -> String {
    let text = String::from_utf8_lossy(bytes.unwrap_or_default());
    let shown = text.lines().map(|line| match line.split_once('=') {
        Some((name, _)) if SECRET.contains(&name.trim()) => format!("{name}= ***"),
        _ => line.to_owned(),
    });
    shown.map(|line| line + "\n").collect()
}

/// A step, in words.
pub(super) fn share(share: &Share) -> String {
    match share {
        Share::Folder { path, uid, gid, mode } => format!("make {path} (mode {mode:o}, {uid}:{gid})"),
        Share::Own { path, uid, gid, mode } => format!("chown {uid}:{gid} {path}; chmod {mode:o} {path}"),
        Share::Join { user, group } => format!("usermod -a -G {group} {user}"),
        Share::Tables { path } => format!("capconduit migrate, which makes {path}"),
    }
}

/// A change that was made, in words.
pub(super) fn change(folder: &Path, change: &Change) -> String {
    match change {
        Change::Write { name, .. } => format!("wrote {}", folder.join(name).display()),
        Change::Delete { name } => format!("removed {}", folder.join(name).display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{debian, program, realtime, wanted};
    use super::super::plan::after;
    use super::*;

    #[test]
    fn the_whole_is_told_and_no_password() {
        let survey = Survey { folder: debian(), program: program(), ..Survey::default() };
        let text = render(&survey, &Plan::install(&survey, &wanted()));
        for part in [
            "/etc/asterisk: Asterisk 22.10.1",
            "\n/etc/asterisk/pjsip.conf\n",
            "  + #tryinclude \"capconduit.d/pjsip.conf\" ; capconduit\n",
            "\n/etc/asterisk/capconduit.d/ari.conf (new)\n",
            "  + password = ***\n",
            "one restart of Asterisk",
            "\nOn a node that is shared\n",
            "\nLeft to you\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("semicolon") && !text.contains("What stops it"), "{text}");
    }

    #[test]
    fn what_is_there_and_what_stops_it_are_told() {
        let mut survey = Survey { folder: debian(), program: program(), ..Survey::default() };
        survey.folder = after(&survey.folder, &Plan::install(&survey, &wanted()).changes);
        assert!(render(&survey, &Plan::install(&survey, &wanted())).contains("nothing to do"));
        let stopped = Survey { folder: realtime(), program: program(), ..Survey::default() };
        let text = render(&stopped, &Plan::install(&stopped, &wanted()));
        assert!(text.contains("What stops it\n  sorcery.conf has PJSIP objects in realtime"), "{text}");
    }
}
