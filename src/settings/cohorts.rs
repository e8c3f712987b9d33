//! The rules of dimensions and groupings.

use crate::cohort::{Dimension, DimensionRef, DimensionValue, Grouping, MAX_DIMENSIONS, SignupPeriod};

use super::layers::{Entry, Node, Value, unknown_key};
use super::problem::{Origin, Problem, nearest};
use super::read::Reader;
use super::schema::section;

/// Labels that every cohort gauge, Prometheus itself, or the recording rules' sums over instances use already.
/// `everyone` is the grouping by nothing.
const RESERVED: [&str; 12] = [
    "cohort_by",
    "window",
    "currency",
    "reason",
    "class",
    "le",
    "quantile",
    "instance",
    "job",
    "pod",
    "namespace",
    "everyone",
];

/// The declared dimensions and the groupings, `everyone` first.
pub(super) fn read(r: &mut Reader) -> Option<(Vec<Dimension>, Vec<Grouping>)> {
    let dimensions = dimensions(r);
    let groupings = groupings(r, dimensions.as_deref());
    Some((dimensions?, groupings?))
}

/// The items of a `[[section]]`, each with the keys it may have; the others are noted as problems.
fn items(r: &mut Reader, name: &'static str) -> Option<Vec<(Origin, Vec<Entry>)>> {
    let Some(list) = r.layers.repeated.remove(name) else { return Some(Vec::new()) };
    let section = section(name)?;
    let Value::List(nodes) = list.value else {
        return r.wrong(&list.origin, format!("`{name}` is {}", list.value.kind()), "write a list of tables");
    };
    let mut items = Vec::with_capacity(nodes.len());
    for Node { value, origin } in nodes {
        let Value::Table(entries) = value else {
            r.problem(Problem::new(&origin, format!("an item of `{name}` is {}, and must be a table", value.kind())));
            continue;
        };
        let (known, unknown): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|e| section.keys.iter().any(|k| k.name == e.key));
        unknown.iter().for_each(|e| r.problem(unknown_key(section, e)));
        items.push((origin, known));
    }
    Some(items)
}

fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Node> {
    entries.iter().find(|e| e.key == key).map(|e| &e.node)
}

fn dimensions(r: &mut Reader) -> Option<Vec<Dimension>> {
    let mut dimensions: Vec<Dimension> = Vec::new();
    let mut complete = true;
    for (origin, entries) in items(r, "dimensions")? {
        if dimensions.len() == MAX_DIMENSIONS {
            let message = format!("there are more than {MAX_DIMENSIONS} dimensions");
            return r.wrong(&origin, message, "remove those that no grouping uses");
        }
        match dimension(r, &origin, &entries, &dimensions) {
            Some(dimension) => dimensions.push(dimension),
            None => complete = false,
        }
    }
    complete.then_some(dimensions)
}

fn dimension(r: &mut Reader, origin: &Origin, entries: &[Entry], others: &[Dimension]) -> Option<Dimension> {
    let values = [("window", DimensionValue::Window), ("first", DimensionValue::First)];
    let value = match find(entries, "value") {
        Some(node) => r.choice("dimensions.value", node, &values),
        None => Some(DimensionValue::Window),
    };
    let attribute = match find(entries, "attribute") {
        Some(node) => r.text("dimensions.attribute", node).map(Some),
        None => Some(None),
    };
    let Some(node) = find(entries, "name") else {
        return r.wrong(origin, "a dimension has no name", "add name = \"…\"");
    };
    let name = r.text("dimensions.name", node)?;
    check_name(r, &name, &node.origin)?;
    if others.iter().any(|d| d.name == name) {
        return r.wrong(&node.origin, format!("two dimensions are called {name:?}"), "rename or remove one");
    }
    Some(Dimension { attribute: attribute?.unwrap_or_else(|| name.clone()), name, value: value? })
}

fn check_name(r: &mut Reader, name: &str, origin: &Origin) -> Option<()> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(first) || !name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        let message = format!("{name:?} cannot be the name of a label");
        let remedy = "write letters, digits and underscores, no digit first; the attribute may be called otherwise: attribute = \"…\"";
        return r.wrong(origin, message, remedy);
    }
    let remedy = format!("choose another name, such as name = \"customer_{name}\", with attribute = \"{name}\"");
    if SignupPeriod::ALL.iter().any(|p| p.name() == name) {
        let remedy = "use it in a grouping without declaring it, or choose another name";
        return r.wrong(origin, format!("the dimension {name} is built in"), remedy);
    }
    if name.starts_with("__") {
        return r.wrong(
            origin,
            format!("{name:?}: labels with two underscores first are Prometheus's own"),
            "choose another name",
        );
    }
    if RESERVED.contains(&name) {
        return r.wrong(origin, format!("the label {name:?} is reserved"), remedy);
    }
    Some(())
}

fn groupings(r: &mut Reader, dimensions: Option<&[Dimension]>) -> Option<Vec<Grouping>> {
    let mut groupings = vec![Grouping::default()];
    let mut complete = true;
    for (origin, entries) in items(r, "groupings")? {
        match grouping(r, &origin, &entries, dimensions) {
            // Everyone is there already; to say so once more is no mistake.
            Some(grouping) if grouping.by.is_empty() => {}
            Some(grouping) if groupings.iter().any(|g| same_dimensions(g, &grouping)) => {
                let message = "another grouping has the same dimensions";
                r.problem(
                    Problem::new(&origin, message).remedy("remove one: their order makes no difference to the numbers"),
                );
            }
            Some(grouping) => groupings.push(grouping),
            None => complete = false,
        }
    }
    complete.then_some(groupings)
}

fn same_dimensions(a: &Grouping, b: &Grouping) -> bool {
    a.by.len() == b.by.len() && a.by.iter().all(|d| b.by.contains(d))
}

fn grouping(r: &mut Reader, origin: &Origin, entries: &[Entry], dimensions: Option<&[Dimension]>) -> Option<Grouping> {
    let Some(node) = find(entries, "by") else {
        return r.wrong(origin, "a grouping has no dimensions", "add by = [\"…\"]");
    };
    let names = r.list("groupings.by", node, Reader::text)?;
    // With a mistake among the dimensions, what is unknown here may only be misspelt there.
    let dimensions = dimensions?;
    let mut by = Vec::with_capacity(names.len());
    let mut complete = true;
    for name in names {
        match resolve(dimensions, &name.value) {
            Some(d) if by.contains(&d) => {
                complete = false;
                let message = format!("the dimension {:?} is in the grouping twice", name.value);
                r.problem(Problem::new(&name.origin, message).remedy("remove one"));
            }
            Some(d) => by.push(d),
            None => {
                complete = false;
                r.problem(unknown_dimension(dimensions, &name.value, &name.origin));
            }
        }
    }
    complete.then_some(Grouping { by })
}

fn resolve(dimensions: &[Dimension], name: &str) -> Option<DimensionRef> {
    let declared = dimensions.iter().position(|d| d.name == name).map(DimensionRef::Declared);
    declared.or_else(|| SignupPeriod::ALL.into_iter().find(|p| p.name() == name).map(DimensionRef::Signup))
}

fn unknown_dimension(dimensions: &[Dimension], name: &str, origin: &Origin) -> Problem {
    let known = dimensions.iter().map(|d| d.name.as_str()).chain(SignupPeriod::ALL.map(SignupPeriod::name));
    let problem = Problem::new(origin, format!("no dimension is called {name:?}"));
    match nearest(name, known) {
        Some(known) => problem.remedy(format!("did you mean \"{known}\"?")),
        None => problem.remedy(format!("declare it: [[dimensions]] name = \"{name}\"")),
    }
}
