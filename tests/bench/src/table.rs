//! The figures as tables: rows of text, set in columns for a terminal or as Markdown.

use crate::figures::Figures;

/// A table: its title, its head, its rows. The first column is text, the others are numbers.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// All tables of a run that have rows.
pub(crate) fn tables(figures: &Figures) -> Vec<Table> {
    let tables = [goals(figures), flow(figures), latency(figures), producer(figures), idle(figures), load(figures)];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn goals(figures: &Figures) -> Table {
    let rows = figures.goals.iter().map(|goal| {
        vec![
            format!("{} ({})", goal.what, goal.unit),
            number(goal.at_most),
            if goal.found < f64::MAX { number(goal.found) } else { "-".to_owned() },
            goal.cell.clone(),
            if goal.reached { "yes" } else { "no" }.to_owned(),
        ]
    });
    Table { title: "Goals", head: vec!["goal", "at most", "found", "worst cell", "reached"], rows: rows.collect() }
}

fn flow(figures: &Figures) -> Table {
    let rows = figures.flow.iter().map(|flow| {
        vec![
            format!("{}/{}/{}", flow.sink.name(), flow.retrieval.name(), flow.shards),
            format!("{:.0}", flow.records_per_s),
            format!("{:.2}", flow.cpu_s_per_million),
            format!("{:.2}", flow.load_cpu_s_per_million),
            flow.broker_cpu_s_per_million.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}")),
            format!("{:.1}", flow.peak_memory_mib),
            format!("{:.0}", flow.first_record_ms),
            format!("{:.0}", flow.stop_ms),
            exit(flow.exit_code),
        ]
    });
    Table {
        title: "Under an endless backlog",
        head: vec![
            "cell",
            "records/s",
            "CPU s per million",
            "load source's",
            "broker's",
            "peak MiB",
            "first record ms",
            "stop ms",
            "exit code",
        ],
        rows: rows.collect(),
    }
}

fn latency(figures: &Figures) -> Table {
    let rows = figures.latency.iter().map(|latency| {
        vec![
            format!("latency/{}", latency.pace.name()),
            latency.offered_per_s.to_string(),
            format!("{:.0}", latency.records_per_s),
            latency.per_event.to_string(),
            format!("{:.1}", latency.records_per_entry),
            format!("{:.2}", latency.p50_ms),
            format!("{:.2}", latency.p99_ms),
            format!("{:.1}", latency.most_ms),
            format!("{:.2}", latency.cpu_s_per_million),
        ]
    });
    Table {
        title: "From an event of a subscription to the entry at the broker, at a steady pace",
        head: vec![
            "cell",
            "offered/s",
            "records/s",
            "records an event",
            "records an entry",
            "p50 ms",
            "p99 ms",
            "longest ms",
            "CPU s per million",
        ],
        rows: rows.collect(),
    }
}

fn producer(figures: &Figures) -> Table {
    let rows = figures.producer.iter().map(|produced| {
        let ours = figures.ours_beside(produced);
        vec![
            produced.name(),
            format!("{:.0}", produced.messages_per_s),
            format!("{:.2}", produced.cpu_us_per_message),
            ours.map_or_else(|| "-".to_owned(), |ours| format!("{:.1}", produced.cpu_us_per_message / ours.cpu_us_per_message)),
            produced.broker_cpu_us_per_message.map_or_else(|| "-".to_owned(), |micros| format!("{micros:.2}")),
        ]
    });
    Table {
        title: "A producer alone",
        head: vec!["cell", "messages/s", "CPU us a message", "times ours", "broker's"],
        rows: rows.collect(),
    }
}

fn idle(figures: &Figures) -> Table {
    let rows = figures.idle.iter().map(|idle| {
        vec![
            format!("idle/{}/{}", idle.retrieval.name(), idle.shards),
            format!("{:.1}", idle.memory_mib),
            format!("{:.1}", idle.anonymous_memory_mib),
            format!("{:.1}", idle.peak_memory_mib),
            format!("{:.1}", idle.cpu_ms_per_s),
            format!("{:.0}", idle.stop_ms),
            exit(idle.exit_code),
        ]
    });
    Table {
        title: "Idle",
        head: vec!["cell", "resident MiB", "of it anonymous", "peak MiB", "CPU ms per s", "stop ms", "exit code"],
        rows: rows.collect(),
    }
}

fn load(figures: &Figures) -> Table {
    let rows = figures.load.iter().map(|load| {
        vec![
            format!("load/{}/{}", load.retrieval.name(), load.shards),
            format!("{:.0}", load.records_per_s),
            format!("{:.2}", load.cpu_s_per_million),
        ]
    });
    Table { title: "The load source alone", head: vec!["cell", "records/s", "CPU s per million"], rows: rows.collect() }
}

fn exit(code: Option<i32>) -> String {
    code.map_or_else(|| "signal".to_owned(), |code| code.to_string())
}

/// Two places below ten, one below a hundred, none above.
fn number(value: f64) -> String {
    let places = if value.fract() == 0.0 || value >= 100.0 {
        0
    } else if value < 10.0 {
        2
    } else {
        1
    };
    format!("{value:.places$}")
}

/// All tables for a terminal.
pub(crate) fn text(figures: &Figures) -> String {
    let mut out = String::new();
    for table in tables(figures) {
        let mut widths: Vec<usize> = table.head.iter().map(|cell| cell.len()).collect();
        for row in &table.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for (index, (cell, width)) in cells.zip(&widths).enumerate() {
                out.push_str(&if index == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") });
            }
            out.push('\n');
        };
        line(&mut std::iter::empty());
        line(&mut table.head.iter().copied());
        for row in &table.rows {
            line(&mut row.iter().map(String::as_str));
        }
    }
    out
}
