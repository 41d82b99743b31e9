//! The part of a page that is written from the figures, between two marks. What stands outside of the marks is never touched.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::figures::Figures;
use crate::table::tables;

const BEGIN: &str = "<!-- figures: written by `bench`, not by hand -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Writes the marked part of the page anew.
pub(crate) fn write(figures: &Figures, page: &Path) -> anyhow::Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))?;
    let new = replaced(&old, &text(figures))
        .with_context(|| format!("`{}` has no line `{}` with a line `{}` after it", page.display(), BEGIN.trim(), END.trim()))?;
    fs::write(page, new).with_context(|| format!("cannot write `{}`", page.display()))
}

fn replaced(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{figures}{END}{after}"))
}

/// The machine and all tables.
fn text(figures: &Figures) -> String {
    let Figures { machine, records, .. } = figures;
    let virtual_machine = if machine.is_virtual { " of a virtual machine" } else { "" };
    let broker = figures.broker_version.as_ref().map_or_else(String::new, |version| format!(", Apache Pulsar {version} standalone"));
    let mut out = format!(
        "\nMachine: {} core(s){virtual_machine}, {}, {:.0} GiB, {}, {}; load average before the run {:.2}. All processes share these cores.\n\
         pulsar-connect {}{broker}; windows of {} s. Records of {} bytes, {} partition keys; {} records in an event of a subscription, {} in\n\
         an answer of GetRecords.\n",
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.system,
        machine.kernel,
        machine.load_before,
        figures.version,
        figures.window_s,
        records.bytes,
        records.partition_keys,
        records.per_fan_out_event,
        records.per_polling_answer,
    );
    for table in tables(figures) {
        out.push_str(&format!("\n### {}\n\n", table.title));
        out.push_str(&row(table.head.iter().copied()));
        out.push_str(&row(table.head.iter().enumerate().map(|(index, _)| if index == 0 { "---" } else { "---:" })));
        for cells in &table.rows {
            out.push_str(&row(cells.iter().map(String::as_str)));
        }
    }
    out.push('\n');
    out
}

fn row<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::from("|");
    for cell in cells {
        line.push_str(&format!(" {cell} |"));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_marked_part_is_written() {
        let page = format!("# Title\n{BEGIN}old\n{END}\nrest\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("# Title\n{BEGIN}new\n{END}\nrest\n"));
        assert!(replaced("no marks", "new").is_none());
    }

    #[test]
    fn the_published_page_shows_the_published_figures() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let page = fs::read_to_string(docs.join("performance.md")).unwrap();
        let figures: Figures = serde_json::from_str(&fs::read_to_string(docs.join("performance.json")).unwrap()).unwrap();
        assert_eq!(
            replaced(&page, &text(&figures)).unwrap(),
            page,
            "write it anew with `bench render docs/performance.json docs/performance.md`"
        );
        assert_eq!(crate::goals::compare(&figures), figures.goals, "the goals are those of the figures");
        assert!(!figures.flow.is_empty() && !figures.idle.is_empty() && !figures.load.is_empty(), "the page is of a whole run");
    }
}
