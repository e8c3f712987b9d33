//! The documentation of the configuration, from the table of keys.

use std::fmt::Write;

use super::schema::{Key, LIBRDKAFKA, SECTIONS, Section, variable};

/// `docs/configuration.md`.
pub fn configuration_markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Generated from src/settings/schema.rs: UPDATE_DOCS=1 cargo test --test it configuration -->\n\n\
         A TOML file (`--config`, or the variable `CHURNWATCH_CONFIG`), then variables `CHURNWATCH__SECTION__KEY`, then flags: \
         the later one holds. Everything has a default; `churnwatch validate` checks a configuration and prints what it amounts to.\n\n\
         [reference.toml](reference.toml) is a configuration that states every default.\n\n\
         A *duration* is a number and a unit, or several: `90s`, `1h30m`, `30d`. The units are `ms`, `s`, `m`, `h`, `d` and `w`; \
         months and years are none, as they differ in length.\n\n\
         In a variable a list is separated by commas (`CHURNWATCH__KAFKA__TOPICS=a,b`) or written as in TOML. \
         `CHURNWATCH__DIMENSIONS` and `CHURNWATCH__GROUPINGS` are lists of TOML tables and replace those of the file. \
         A property of the Kafka client is written with underscores for dots: `CHURNWATCH__KAFKA__LIBRDKAFKA__SASL_PASSWORD`.\n",
    );
    for section in SECTIONS {
        let heading = if section.repeated { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        let _ = write!(out, "\n## `{heading}`\n\n{}\n\n", section.doc);
        out += if section.repeated {
            "| key | type | default | |\n|---|---|---|---|\n"
        } else {
            "| key | type | default | variable | |\n|---|---|---|---|---|\n"
        };
        for key in section.keys {
            let default = key.default.map(|d| format!("`{d}`")).unwrap_or_default();
            let variable = match (section.repeated, key.name) {
                (true, _) => String::new(),
                (false, LIBRDKAFKA) => format!("`{}__…` | ", variable(section.name, key.name)),
                (false, _) => format!("`{}` | ", variable(section.name, key.name)),
            };
            let _ = writeln!(out, "| `{}` | {} | {default} | {variable}{} |", key.name, key.kind, key.doc);
        }
    }
    out
}

/// `docs/reference.toml`: every key with its type, meaning and default. What has none is commented out.
pub fn reference_toml() -> String {
    let mut out = String::from(
        "# Every setting of churnwatch with its default: loading this file changes nothing.\n\
         # Generated from src/settings/schema.rs: UPDATE_DOCS=1 cargo test --test it configuration\n",
    );
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        let (open, close) = if section.repeated { ("# [[", "]]") } else { ("[", "]") };
        let _ = writeln!(out, "{open}{}{close}", section.name);
        for key in section.keys {
            entry(&mut out, section, key);
        }
    }
    out
}

fn entry(out: &mut String, section: &Section, key: &Key) {
    comment(out, &format!("({}) {}", key.kind, key.doc));
    let value = key.default.unwrap_or(key.example);
    let mark = if section.repeated || key.default.is_none() { "# " } else { "" };
    let _ = writeln!(out, "{mark}{} = {value}", key.name);
}

/// A comment of at most 120 columns a line.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 120 {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line += word;
    }
    let _ = writeln!(out, "{line}");
}
