//! PURE: the report's plots, as SVG, from plain figures.

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::{
    BLACK, BindKeyPoints, Cartesian2d, ChartBuilder, ChartContext, Color, DrawingArea, DrawingAreaErrorKind,
    IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor, Ranged, Rectangle, SVGBackend, ShapeStyle,
    TextStyle, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// All in pixels: of a plot, of its height where nothing else decides that, and of the names of contestants.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
const NAMES: u32 = 270;
const FONT: (&str, u32) = ("sans-serif", 14);

/// Okabe and Ito's colours, which colour-blind people can tell apart, but for the yellow, which is hard to see on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A line through points.
#[derive(Debug)]
pub(crate) struct Curve {
    /// For people.
    pub(crate) name: String,
    /// Which colour: those that belong together have the same.
    pub(crate) colour: usize,
    /// Drawn thin: what others are compared with.
    pub(crate) thin: bool,
    /// From left to right; what is no number is left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A bar of two parts.
#[derive(Debug)]
pub(crate) struct Bar {
    /// For people.
    pub(crate) name: String,
    /// How long each part is.
    pub(crate) parts: [f64; 2],
    /// The shortest that the whole was.
    pub(crate) least: f64,
    /// The longest.
    pub(crate) most: f64,
}

impl Curve {
    fn style(&self) -> ShapeStyle {
        colour(self.colour).filled().stroke_width(if self.thin { 1 } else { 3 })
    }
}

/// Which part of the samples does not exceed a value, on a logarithmic axis: neither the bulk nor the tail is lost.
pub(crate) fn distribution(curves: &[Curve], x: &str) -> String {
    let values = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).filter(|value| *value > 0.0);
    let (least, most) = span(values).map_or((1.0, 10.0), |(least, most)| (least * 0.9, most * 1.1));
    let ticks = ticks(least, most);
    svg(HEIGHT, |area| {
        let (left, right) = area.split_horizontally(WIDTH - NAMES);
        let mut chart = ChartBuilder::on(&left)
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d((least..most).log_scale().with_key_points(ticks), 0.0..1.0_f64)?;
        draw(&mut chart, (x, "part of the calls"), curves, 0)?;
        names(&right, curves)
    })
}

/// What comes of what, both from 0.
pub(crate) fn lines(curves: &[Curve], axes: (&str, &str)) -> String {
    let most = |of: fn(&(f64, f64)) -> f64| {
        let values = curves.iter().flat_map(|curve| &curve.points).map(of);
        span(values).map_or(1.0, |(_, most)| most.max(1.0) * 1.05)
    };
    let (x, y) = (most(|point| point.0), most(|point| point.1));
    svg(HEIGHT, |area| {
        let (left, right) = area.split_horizontally(WIDTH - NAMES);
        let mut chart = ChartBuilder::on(&left)
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..x, 0.0..y)?;
        draw(&mut chart, axes, curves, 3)?;
        names(&right, curves)
    })
}

/// Bars one below the other, their parts end to end, and a thin line from the least to the most of the whole.
pub(crate) fn bars(bars: &[Bar], parts: [&str; 2], x: &str) -> String {
    let most = span(bars.iter().map(|bar| bar.most)).map_or(1.0, |(_, most)| most * 1.05);
    // Upwards, ten units for each bar.
    let count = bars.len() as i32;
    let middles: Vec<i32> = (0..count).map(|n| 10 * n + 5).collect();
    let styles = [colour(0).filled().stroke_width(12), colour(4).filled().stroke_width(12)];
    svg(90 + 36 * bars.len() as u32, |area| {
        let (left, right) = area.split_horizontally(WIDTH - 150);
        let mut chart = ChartBuilder::on(&left)
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(0.0..most, (0..10 * count).with_key_points(middles))?;
        let name = |y: &i32| bars.iter().rev().nth(*y as usize / 10).map_or_else(String::new, |bar| bar.name.clone());
        chart
            .configure_mesh()
            .disable_y_mesh()
            .max_light_lines(0)
            .label_style(FONT)
            .x_desc(x)
            .x_label_formatter(&told)
            .y_label_formatter(&name)
            .draw()?;
        for (bar, y) in bars.iter().rev().zip((0_i32..).step_by(10)) {
            let mut from = 0.0_f64;
            for (part, style) in bar.parts.into_iter().zip(styles) {
                chart.plotting_area().draw(&Rectangle::new([(from, y + 2), (from + part, y + 8)], style))?;
                from += part;
            }
            let spread = vec![(bar.least, y + 5), (bar.most, y + 5)];
            chart.plotting_area().draw(&PathElement::new(spread, BLACK))?;
        }
        let spread = ("least to most", BLACK.stroke_width(1));
        legend(&right, &[(parts[0], styles[0]), (parts[1], styles[1]), spread])
    })
}

fn colour(n: usize) -> RGBColor {
    COLOURS[n % COLOURS.len()]
}

fn svg(height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        let drawn = area.fill(&WHITE).and_then(|()| draw(&area)).and_then(|()| area.present());
        drawn.expect("nothing can go wrong in a string");
    }
    text
}

/// The axes, and the curves between them, with dots of this size.
fn draw<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    (x, y): (&str, &str),
    curves: &[Curve],
    dot: u32,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        // They would be most of the file.
        .max_light_lines(0)
        .label_style(FONT)
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&told)
        .y_label_formatter(&told)
        .draw()?;
    for curve in curves {
        let points = curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
        chart.draw_series(LineSeries::new(points, curve.style()).point_size(dot))?;
    }
    Ok(())
}

fn names(area: &Area<'_>, curves: &[Curve]) -> Drawn {
    let entries: Vec<_> = curves.iter().map(|curve| (curve.name.as_str(), curve.style())).collect();
    legend(area, &entries)
}

/// What each style stands for, beside the plot: whatever the curves do, it hides none of them.
fn legend(area: &Area<'_>, entries: &[(&str, ShapeStyle)]) -> Drawn {
    let font = TextStyle::from(FONT).pos(Pos::new(HPos::Left, VPos::Center));
    for ((name, style), y) in entries.iter().zip((20_i32..).step_by(22)) {
        area.draw(&PathElement::new(vec![(5, y), (30, y)], *style))?;
        area.draw_text(name, &font, (38, y))?;
    }
    Ok(())
}

/// The least and the most of those that are numbers.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |span: Option<(f64, f64)>, value| {
        Some(span.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
    })
}

/// Where a logarithmic axis is marked: plotters by itself marks powers of ten alone.
fn ticks(least: f64, most: f64) -> Vec<f64> {
    let powers = (-2..=6).map(|power| 10_f64.powi(power));
    let all = powers.flat_map(|power| [1.0, 2.0, 3.0, 5.0, 7.0].map(|step| step * power));
    all.filter(|tick| (least..=most).contains(tick)).collect()
}

/// With no more digits than it needs: 0.5, 20.
fn told(value: &f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
