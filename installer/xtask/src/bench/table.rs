//! The table that is printed.

/// One figure of one server.
pub(crate) struct Row {
    pub(crate) load: &'static str,
    pub(crate) server: String,
    pub(crate) figures: Vec<(&'static str, f64)>,
}

/// Prints a line a load and server, with the budget beside it and the ratio to the first server where both have it.
pub(crate) fn print(rows: &[Row]) {
    println!("\n{:<22} {:<8} figures", "load", "server");
    for row in rows {
        let figures: Vec<String> = row
            .figures
            .iter()
            .map(|(name, value)| {
                let first = rows.iter().find(|other| other.load == row.load && other.server != row.server);
                let ratio = first
                    .filter(|_| row.server == "Shoal")
                    .and_then(|other| other.figures.iter().find(|(n, _)| n == name))
                    .filter(|(_, other)| *other > 0.0)
                    .map(|(_, other)| format!(" (×{:.1})", value / other));
                format!("{name} {value:.3}{}", ratio.unwrap_or_default())
            })
            .collect();
        println!("{:<22} {:<8} {}", row.load, row.server, figures.join(" · "));
    }
    println!("\n(×N) is the ratio to the next server of the same load in this run.");
}
