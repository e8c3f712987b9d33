//! `churnwatch snapshot inspect`: what snapshot files hold, or what is wrong with them.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::cohort::Definitions;
use crate::snapshot::{self, Header, RestoreError};

/// Prints a block for each file; fails if any of them could not be restored under these definitions.
pub fn run(definitions: Definitions, files: &[PathBuf], out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let definitions = Arc::new(definitions);
    let mut all_valid = true;
    for file in files {
        let verdict = restore(file, &definitions);
        all_valid &= verdict.is_ok();
        print(file, verdict, out)?;
    }
    Ok(if all_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the whole file as a restart would.
fn restore(file: &Path, definitions: &Arc<Definitions>) -> Result<Header, RestoreError> {
    let mut input = BufReader::new(File::open(file)?);
    Ok(snapshot::read(&mut input, definitions.clone())?.0)
}

fn print(file: &Path, verdict: Result<Header, RestoreError>, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{}", file.display())?;
    // A damaged one may still say what it was meant to be.
    let header = match &verdict {
        Ok(header) => Some(header.clone()),
        Err(_) => File::open(file).ok().and_then(|file| snapshot::read_header(&mut BufReader::new(file)).ok()),
    };
    if let Some(header) = header {
        writeln!(out, "  topic        {}", header.topic)?;
        writeln!(out, "  partition    {}", header.partition)?;
        writeln!(out, "  next offset  {}", header.next_offset)?;
        writeln!(out, "  customers    {}", header.customers)?;
    }
    if let Ok(metadata) = file.metadata() {
        writeln!(out, "  size         {} bytes", metadata.len())?;
    }
    match verdict {
        Ok(_) => writeln!(out, "  valid        yes: restored whole")?,
        Err(error @ RestoreError::Settings { .. }) => {
            writeln!(out, "  valid        not under this configuration: it {error}")?;
        }
        Err(error) => writeln!(out, "  valid        no: it {error}")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::shard::{HashKey, Shard};

    #[test]
    fn a_damaged_file_is_told_from_a_whole_one() {
        let directory = tempfile::tempdir().unwrap();
        let definitions = Settings::default().definitions();
        let mut shard = Shard::new(Arc::new(definitions.clone()), HashKey([1; 16]));
        shard.set_next_offset(12);
        let mut bytes = Vec::new();
        snapshot::write(&shard, "events", 3, &mut bytes).unwrap();
        let [whole, torn, absent] = ["whole", "torn", "absent"].map(|name| directory.path().join(name));
        std::fs::write(&whole, &bytes).unwrap();
        std::fs::write(&torn, &bytes[..bytes.len() - 1]).unwrap();

        let inspect = |file: &Path| {
            let mut out = Vec::new();
            let code = run(definitions.clone(), &[file.to_owned()], &mut out).unwrap();
            (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
        };
        let (valid, text) = inspect(&whole);
        assert!(valid && text.contains("partition    3\n  next offset  12\n") && text.contains("yes"), "{text}");
        let (valid, text) = inspect(&torn);
        assert!(!valid && text.contains("no: it is damaged: it ends too early"), "{text}");
        let (valid, text) = inspect(&absent);
        assert!(!valid && text.contains("no: it cannot be read"), "{text}");
    }
}
