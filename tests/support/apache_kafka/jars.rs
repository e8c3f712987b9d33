//! Apache Kafka's jars, assembled once from the Maven repository.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder of the jars, or what is missing for it.
pub fn folder() -> Result<&'static Path, &'static str> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(assemble).as_deref().map_err(String::as_str)
}

fn assemble() -> Result<PathBuf, String> {
    let missing: Vec<&str> = ["java", "mvn"].into_iter().filter(|command| !runs(command)).collect();
    if !missing.is_empty() {
        return Err(format!("{} not installed", missing.join(" and ")));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pom = root.join("tests/apache-kafka/pom.xml");
    let folder = root.join("target/apache-kafka");
    fs::create_dir_all(&folder).unwrap();
    // Other tests and other processes may be about to do the same.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();

    // Comes last, so where it is, and is the same, everything is.
    let assembled = folder.join("pom.xml");
    let jars = folder.join("jars");
    let wanted = fs::read(&pom).unwrap();
    if fs::read(&assembled).is_ok_and(|is| is == wanted) {
        return Ok(jars);
    }
    let _ = fs::remove_dir_all(&jars);
    let mvn = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg(format!("-Djars={}", jars.display()))
        .arg("package")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(mvn.status.success(), "mvn cannot assemble Apache Kafka: {}", String::from_utf8_lossy(&mvn.stdout));
    fs::write(assembled, wanted).unwrap();
    Ok(jars)
}

fn runs(command: &str) -> bool {
    let asked = Command::new(command).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}
