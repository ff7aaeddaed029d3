//! The report: every row's tables, verdicts and plots, kept as JSON from run to run, and written as Markdown for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// One row of the goals, as measured last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: String,
    /// How it was measured.
    pub(crate) how: String,
    /// Columns of the table.
    pub(crate) head: Vec<String>,
    /// Its lines.
    pub(crate) lines: Vec<Vec<String>>,
    /// What was to be reached, and what was.
    pub(crate) verdicts: Vec<Verdict>,
    /// What of it is drawn.
    #[serde(default)]
    pub(crate) plots: Vec<Plot>,
    /// The commit that was measured.
    pub(crate) commit: String,
    /// When, UTC.
    pub(crate) at: String,
}

/// A goal and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// What was to be reached.
    pub(crate) goal: String,
    /// What was measured.
    pub(crate) figure: String,
    /// Whether that is enough.
    pub(crate) reached: bool,
}

/// A plot, in a file of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plot {
    /// What it shows; part of the file's name.
    pub(crate) name: String,
    /// The drawing; of an earlier run it is not read again: its file is there.
    #[serde(skip)]
    pub(crate) svg: String,
}

impl Plot {
    /// Its file, as seen from the report.
    fn path(&self, key: &str) -> String {
        format!("plots/{key}-{}.svg", self.name)
    }
}

impl Section {
    /// An empty one, of this commit and moment.
    pub(crate) fn new(title: &str, how: &str, head: &[&str]) -> Self {
        let at = capconduit::clock::Clock::start().now().wall.format("%Y-%m-%d %H:%M").to_string();
        Self {
            title: title.to_owned(),
            how: how.to_owned(),
            head: head.iter().map(|&text| text.to_owned()).collect(),
            lines: Vec::new(),
            verdicts: Vec::new(),
            plots: Vec::new(),
            commit: commit(Path::new(env!("CARGO_MANIFEST_DIR"))),
            at,
        }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// Adds a goal and its figure.
    pub(crate) fn verdict(&mut self, goal: &str, figure: String, reached: bool) {
        self.verdicts.push(Verdict { goal: goal.to_owned(), figure, reached });
    }

    /// Adds a plot under a name that is its own within the section.
    pub(crate) fn plot(&mut self, name: &str, svg: String) {
        self.plots.push(Plot { name: name.to_owned(), svg });
    }

    /// For people; plots are files, and the report's.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.how);
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &row(&self.head);
        text += &format!("|{}\n", " --- |".repeat(self.head.len()));
        self.lines.iter().for_each(|line| text += &row(line));
        text += "\n";
        for Verdict { goal, figure, reached } in &self.verdicts {
            let word = if *reached { "reached" } else { "MISSED" };
            let _ = writeln!(text, "- goal: {goal}. Measured: {figure}. **{word}**");
        }
        text + &format!("\nMeasured {} UTC at commit {}.\n\n", self.at, self.commit)
    }
}

/// All rows, by the order in which they are told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Report(BTreeMap<String, Section>);

impl Report {
    /// What earlier runs have left in `folder`.
    pub(crate) fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("report.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Puts a row in its place.
    pub(crate) fn put(&mut self, key: &str, section: Section) {
        self.0.insert(key.to_owned(), section);
    }

    /// Writes `report.json`, `REPORT.md` and the plots of this run.
    pub(crate) fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)? + "\n")?;
        let mut text = format!(
            "# How fast CapConduit is\n\nWritten by `just bench`; `report.json` beside it has the same for programs. Everything that is compared ran in one run, in turns, \
             on one machine: {}.\nFigures are medians over the rounds, with the least and the most in brackets. Where the time goes, and why what is missed is missed: [EXPLAINED.md](EXPLAINED.md).\n\n",
            machine()
        );
        std::fs::create_dir_all(folder.join("plots"))?;
        for (key, section) in &self.0 {
            text += &section.markdown();
            for plot in &section.plots {
                let path = plot.path(key);
                if !plot.svg.is_empty() {
                    std::fs::write(folder.join(&path), &plot.svg)?;
                }
                text += &format!("![{}: {}]({path})\n\n", section.title, plot.name);
            }
        }
        std::fs::write(folder.join("REPORT.md"), text)
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} x {}, Linux {}", cores, model.unwrap_or_else(|| "an unnamed processor".to_owned()), kernel.trim())
}

/// The commit that is checked out there.
pub(crate) fn commit(checkout: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(checkout).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let written = ["bench/report.json", "bench/REPORT.md", "bench/plots/"];
    let is_written = |line: &str| written.iter().any(|path| line.contains(path));
    let mark = if changed.lines().all(is_written) { "" } else { ", changed" };
    format!("{}{mark}", git(&["rev-parse", "--short", "HEAD"]))
}
