//! The documentation of the configuration is what the code says.

use churnwatch::settings::{configuration_markdown, reference_toml};

use crate::support::golden::assert_golden;

#[test]
fn configuration_md_is_generated() {
    assert_golden("docs/configuration.md", &configuration_markdown());
}

#[test]
fn reference_toml_is_generated() {
    assert_golden("docs/reference.toml", &reference_toml());
}
