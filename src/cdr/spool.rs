//! Reads a file of the dialplan's fallback, piece by piece, through rotation and truncation. Blocks: call it where that may be.
//!
//! What is promised: every line that is in the file, or in one that was the file and still lies in its folder under a name that begins with
//! the file's (`fallback.log.1`, `fallback.log-20261125`) and is not compressed, is read at least once; and once only, unless the file was
//! cut short or cannot be recognised, when it is read from its beginning again. Lines that are cut off a file before they were read are lost.

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Read at once at most: bytes, lines.
const CHUNK: u64 = 256 * 1024;
const LINES: usize = 500;
/// Names of files that were compressed after their rotation end so.
const COMPRESSED: &[&str] = &["gz", "xz", "bz2", "zst", "lz4", "Z", "zip"];

/// How far a spool is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The file: its device …
    pub device: u64,
    /// … and its inode.
    pub inode: u64,
    /// Bytes of it that are read; what follows is the beginning of a line.
    pub bytes: u64,
    /// Lines of it that are read.
    pub lines: u64,
}

/// One line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLine {
    /// Counts from 1 within its file.
    pub number: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Nothing ended it: it is the last of a file that does not grow any more.
    pub torn: bool,
}

/// What one look at the spool gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Lines, and where reading stands behind them.
    Lines(Vec<RawLine>, Position),
    /// Reading goes on there.
    Goes(Position, Way),
    /// Nothing new.
    Nothing,
}

/// Why reading goes on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The file is read for the first time.
    Begins,
    /// The file before is read to its end; this one came after it.
    Rotated,
    /// The file was cut short: it is read from its beginning again.
    Truncated,
    /// The file that was read is in the folder no longer: what it had left was not seen.
    Missed,
}

impl Position {
    fn beginning(of: &Metadata) -> Self {
        Self { device: of.dev(), inode: of.ino(), bytes: 0, lines: 0 }
    }

    fn is_of(&self, file: &Metadata) -> bool {
        (self.device, self.inode) == (file.dev(), file.ino())
    }
}

/// Looks for what comes behind `position` in the spool at `path`. `quiet`: the last look found nothing there, and that was a while
/// ago, so that nobody can be writing any more to a file that has been renamed.
///
/// # Errors
/// When the file or its folder cannot be read. A file that does not exist is no error.
pub fn look(path: &Path, position: Option<Position>, quiet: bool) -> io::Result<Look> {
    let current = metadata(path)?;
    let Some(position) = position else {
        return Ok(current.map_or(Look::Nothing, |file| Look::Goes(Position::beginning(&file), Way::Begins)));
    };
    if let Some(file) = current.as_ref().filter(|file| position.is_of(file)) {
        if !continues(path, file, position)? {
            return Ok(Look::Goes(Position::beginning(file), Way::Truncated));
        }
        return Ok(lines(path, position, false)?.map_or(Look::Nothing, |(lines, next)| Look::Lines(lines, next)));
    }
    let rotated = rotated(path)?;
    let Some((old, name)) = rotated.iter().find(|(file, _)| position.is_of(file)) else {
        // Without the file in whose midst we stood nobody knows what came after it: each line becomes one record, however often it is read.
        let next = rotated.first().map(|(file, _)| file).or(current.as_ref());
        return Ok(next.map_or(Look::Nothing, |file| Look::Goes(Position::beginning(file), Way::Missed)));
    };
    if let Some((lines, next)) = lines(name, position, quiet)? {
        return Ok(Look::Lines(lines, next));
    }
    let later = rotated.iter().map(|(file, _)| file).find(|file| modified(file) > modified(old));
    match later.or(current.as_ref()).filter(|_| quiet) {
        Some(file) => Ok(Look::Goes(Position::beginning(file), Way::Rotated)),
        None => Ok(Look::Nothing),
    }
}

/// What comes behind `position` in the file at `path`, which is that position's; with `all`, what no line's end has ended, too. `None` at its
/// end. No lines but a position: the file was renamed meanwhile, look again.
///
/// # Errors
/// When it cannot be read.
pub fn lines(path: &Path, position: Position, all: bool) -> io::Result<Option<(Vec<RawLine>, Position)>> {
    let mut file = File::open(path)?;
    if !position.is_of(&file.metadata()?) {
        return Ok(Some((Vec::new(), position)));
    }
    file.seek(SeekFrom::Start(position.bytes))?;
    let mut bytes = Vec::new();
    let read = Read::by_ref(&mut file).take(CHUNK).read_to_end(&mut bytes)?;
    let is_full = u64::try_from(read).is_ok_and(|read| read == CHUNK);
    if is_full && !bytes.contains(&b'\n') {
        return overlong(file, bytes, position, all);
    }
    let (mut lines, mut next) = (Vec::new(), position);
    for piece in bytes.split_inclusive(|byte| *byte == b'\n').take(LINES) {
        let ended = piece.strip_suffix(b"\n");
        if ended.is_none() && (is_full || !all) {
            break;
        }
        next.bytes += length(piece.len());
        next.lines += 1;
        lines.push(RawLine { number: next.lines, bytes: ended.unwrap_or(piece).to_vec(), torn: ended.is_none() });
    }
    Ok((!lines.is_empty()).then_some((lines, next)))
}

/// A line of which all that is read at once is but the beginning: no call's. It is passed over, of whatever length.
fn overlong(file: File, bytes: Vec<u8>, position: Position, all: bool) -> io::Result<Option<(Vec<RawLine>, Position)>> {
    let mut rest = BufReader::new(file);
    let skipped = length(rest.skip_until(b'\n')?);
    let next =
        Position { bytes: position.bytes + length(bytes.len()) + skipped, lines: position.lines + 1, ..position };
    let torn = !line_ends_at(rest.get_mut(), next.bytes)?;
    Ok((!torn || all).then(|| (vec![RawLine { number: next.lines, bytes, torn }], next)))
}

/// Whether the byte before `bytes`, which is not 0, ends a line.
fn line_ends_at(file: &mut File, bytes: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(bytes.saturating_sub(1)))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The beginning of the file at `path`.
///
/// # Errors
/// When it is no file that can be looked at, or does not exist.
pub fn beginning(path: &Path) -> io::Result<Position> {
    metadata(path)?.map(|file| Position::beginning(&file)).ok_or_else(|| ErrorKind::NotFound.into())
}

/// `None` when there is none. Anything else than a file is refused: opening a pipe would wait for ever.
fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(_) => Err(io::Error::new(ErrorKind::InvalidInput, "is no file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the file still has what was read of it: it is as long, and a line ended there.
fn continues(path: &Path, file: &Metadata, position: Position) -> io::Result<bool> {
    if position.bytes == 0 || file.len() < position.bytes {
        return Ok(position.bytes == 0);
    }
    line_ends_at(&mut File::open(path)?, position.bytes)
}

/// The spool and the files that it once was, the oldest first, all that [`look`] may read.
///
/// # Errors
/// When their folder cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = rotated(path)?.into_iter().map(|(_, file)| file).collect();
    files.extend(metadata(path)?.map(|_| path.to_owned()));
    Ok(files)
}

/// The files that the spool once was, by the time of their last line.
fn rotated(path: &Path) -> io::Result<Vec<(Metadata, PathBuf)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let other = entry?.path();
        let rest = other.file_name().and_then(|other| other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes()));
        let compressed = other.extension().and_then(|end| end.to_str()).is_some_and(|end| COMPRESSED.contains(&end));
        if rest.is_some_and(|rest| rest.starts_with(b".") || rest.starts_with(b"-"))
            && !compressed
            && let Ok(Some(file)) = metadata(&other)
        {
            found.push((file, other));
        }
    }
    found.sort_by_key(|(file, _)| modified(file));
    Ok(found)
}

fn modified(file: &Metadata) -> SystemTime {
    file.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}
