//! What a job costs in many portals and in many lanes, and the picture of it.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::duel::{Case, Standing};
use crate::workload::Workload;

pub const PORTALS: [u32; 4] = [1, 10, 100, 1_000];
pub const LANES: [usize; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

/// How one figure goes with a number.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: &'static str,
    /// The number, and the figure at it.
    pub points: Vec<(f64, f64)>,
}

/// Lines of one unit, drawn into one frame.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    pub unit: &'static str,
    pub lines: Vec<Line>,
}

/// One case of the engine's benchmark, as its file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineCase {
    load: EngineLoad,
    nanos_per_pair: Median,
}

#[derive(Debug, Deserialize)]
struct EngineLoad {
    lanes: usize,
    portals: u32,
}

#[derive(Debug, Deserialize)]
struct Median {
    median: f64,
}

/// What the worker is run with: four lanes in each of the portals, and lanes of one portal, where each job has a record
/// of its own so that there are as many records as lanes.
pub fn cases(jobs: u64) -> Vec<Case> {
    let base = Case::base(jobs);
    let plain = Workload { jobs_per_from: 1, ..base.workload };
    let portals = PORTALS.map(|portals| (format!("{portals} portals"), Workload { portals: portals.into(), ..plain }));
    let lanes = LANES.map(|lanes| (format!("{lanes} lanes"), Workload { lanes: lanes as u64, ..plain }));
    let workloads = portals.into_iter().chain(lanes).filter(|(_, workload)| workload.lanes <= jobs);
    workloads.map(|(name, workload)| Case { name, workload, ..base.clone() }).collect()
}

/// The engine's part.
pub fn of_engine(cases: &[EngineCase]) -> Panel {
    let points = |many: bool, number: fn(&EngineLoad) -> f64| {
        let cases = cases.iter().filter(|case| (case.load.portals > 1) == many || case.load.lanes == 1);
        let mut points: Vec<(f64, f64)> = cases.map(|case| (number(&case.load), case.nanos_per_pair.median)).collect();
        // Both lines begin with the same load, which was measured for each of them.
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points.dedup_by(|one, other| one.0.total_cmp(&other.0).is_eq());
        points
    };
    Panel {
        title: "engine alone, 1,000,000 pairs held, ten a request",
        unit: "CPU ns a pair",
        lines: vec![
            Line { name: "portals, a lane each", points: points(true, |load| f64::from(load.portals)) },
            Line { name: "lanes of one portal", points: points(false, |load| load.lanes as f64) },
        ],
    }
}

/// The worker's part.
pub fn of_worker(standings: &[(Case, Standing)]) -> Panel {
    let points = |many: bool, number: fn(&Workload) -> u64| {
        let own = standings.iter().filter(|(case, _)| case.name.ends_with("portals") == many);
        own.map(|(case, standing)| (number(&case.workload) as f64, standing.cpu_micros_per_job.median)).collect()
    };
    Panel {
        title: "worker with its lease, jobs of one pair",
        unit: "CPU µs a job",
        lines: vec![
            Line { name: "portals, four lanes each", points: points(true, |workload| workload.portals) },
            Line { name: "lanes of one portal", points: points(false, |workload| workload.lanes) },
        ],
    }
}

/// A table for a page.
pub fn table(panels: &[Panel]) -> String {
    let mut text = String::new();
    for Panel { title, unit, lines } in panels {
        for Line { name, points } in lines {
            let numbers: Vec<String> = points.iter().map(|(number, _)| format!("{number:.0}")).collect();
            let figures: Vec<String> = points.iter().map(|(_, figure)| format!("{figure:.0}")).collect();
            let _ = writeln!(text, "\n{title}; {unit}\n\n| {name} | {} |", numbers.join(" | "));
            let _ = writeln!(text, "|{}", " --- |".repeat(points.len() + 1));
            let _ = writeln!(text, "| {unit} | {} |", figures.join(" | "));
        }
    }
    text
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
/// Room for the numbers beside a frame.
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 2] = ["#c2410c", "#1d4ed8"];
/// Steps of ten that the axis of numbers has: 1 to 100,000.
const DECADES: f64 = 5.0;
const GRID_LINES: u32 = 4;

/// The panels side by side: the number on an axis of tens, the figure from 0 on.
pub fn picture(panels: &[Panel]) -> String {
    let (width, height) = ((WIDTH + MARGIN) * panels.len() as f64 + MARGIN / 2.0, HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut left = MARGIN;
    for panel in panels {
        draw(&mut svg, panel, left);
        left += WIDTH + MARGIN;
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, Panel { title, unit, lines }: &Panel, left: f64) {
    let bottom = MARGIN + HEIGHT;
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, figure)| *figure).fold(1.0, f64::max) * 1.1;
    let across = |number: f64| left + number.max(1.0).log10() / DECADES * WIDTH;
    let up = |figure: f64| bottom - figure / most * HEIGHT;
    let mut put = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    put(format!("<text x=\"{left:.0}\" y=\"{:.0}\" font-weight=\"bold\">{title}</text>", MARGIN - 28.0));
    put(format!("<text x=\"{left:.0}\" y=\"{:.0}\" fill=\"#555\">{unit}</text>", MARGIN - 10.0));
    for step in 0..=GRID_LINES {
        let figure = most * f64::from(step) / f64::from(GRID_LINES);
        let (y, right) = (up(figure), left + WIDTH);
        put(format!("<path d=\"M{left:.0} {y:.1}H{right:.0}\" stroke=\"#ddd\"/>"));
        put(format!(
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{figure:.0}</text>",
            left - 6.0,
            y + 4.0
        ));
    }
    for number in LANES {
        let x = across(number as f64);
        put(format!(
            "<text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{number}</text>",
            bottom + 16.0
        ));
    }
    for (index, (Line { name, points }, colour)) in lines.iter().zip(COLOURS).enumerate() {
        let path: Vec<String> =
            points.iter().map(|(number, figure)| format!("{:.1} {:.1}", across(*number), up(*figure))).collect();
        put(format!("<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L")));
        for (number, figure) in points {
            put(format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", across(*number), up(*figure)));
        }
        let y = bottom + 34.0 + 16.0 * index as f64;
        put(format!("<text x=\"{left:.0}\" y=\"{y:.0}\" fill=\"{colour}\">{name}</text>"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_stands_higher_where_it_costs_more() {
        let line = Line { name: "lanes", points: vec![(1.0, 10.0), (100_000.0, 20.0)] };
        let svg = picture(&[Panel { title: "t", unit: "u", lines: vec![line] }]);
        // 20 of at most 22, and 10 of 22, in a frame of 280 below a margin of 56.
        assert!(svg.contains("M56.0 208.7L476.0 81.5"), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn there_are_as_many_records_as_lanes() {
        let names: Vec<String> = cases(10_000).into_iter().map(|case| case.name).collect();
        assert!(names.contains(&"10000 lanes".to_owned()) && !names.contains(&"100000 lanes".to_owned()));
    }
}
