//! One way to draw a chart, whatever the backend: plotters lays out and draws axes,
//! texts and shapes; what goes where is said here.

use std::ops::Range;
use std::sync::Once;

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, Cross, PathElement, Polygon, Rectangle, TriangleMarker};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, ShapeStyle, register_font};

use super::look::{LETTER, LONGEST, Look, entry_width, header, legend_rows, rgb, rgba};
use super::ticks::ticks;
use super::{Ink, clean};
use crate::Error;
use crate::chart::{Axis, Chart, Mark, Panel, Shape, Ticks, Weight};
use crate::format::clip;

/// Latin, Greek and Cyrillic letters; see fonts/LICENSE.txt.
static FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The font is part of the program, and a test draws with it.
        let _ = register_font("sans-serif", FontStyle::Normal, FONT);
    });
}

type Area<DB> = DrawingArea<DB, Shift>;
type Context<'a, DB> = ChartContext<'a, DB, Cartesian2d<Scale, Scale>>;

/// Why the backend could not draw.
fn failed(error: impl std::fmt::Display) -> Error {
    Error::Drawing(error.to_string())
}

/// Draws a chart on a backend as large as [`size`] says, times the zoom.
pub(super) fn draw<DB: DrawingBackend>(
    chart: &Chart,
    backend: DB,
    look: &Look,
) -> Result<(), Error> {
    register();
    let root = backend.into_drawing_area();
    if look.titled {
        let style = look.style(Ink::Text, look.letters() + 3);
        let at = (look.px(10), look.px(8));
        root.draw_text(&clean(&clip(&chart.title, 80)), &style, at)
            .map_err(failed)?;
    }
    draw_legend(chart, &root, look)?;
    let columns = look.columns(chart);
    let width = look.width() as i32 / columns as i32;
    let (top, height) = (header(chart, look), look.panel_height(chart));
    for (index, panel) in chart.panels.iter().enumerate() {
        let (column, row) = ((index % columns) as i32, (index / columns) as i32);
        let corner = (look.px(column * width), look.px(top + row * height));
        let area = root
            .clone()
            .shrink(corner, (look.px(width), look.px(height)));
        draw_panel(panel, &area, &root, look)?;
    }
    root.present().map_err(failed)
}

fn draw_legend<DB: DrawingBackend>(
    chart: &Chart,
    root: &Area<DB>,
    look: &Look,
) -> Result<(), Error> {
    let style = look.style(Ink::Text, look.letters());
    let style = style.pos(Pos::new(HPos::Left, VPos::Center));
    let mut y = if look.titled { 46 } else { 14 };
    for row in legend_rows(chart, look) {
        let mut x = 10.0;
        for index in row {
            let entry = &chart.legend[index];
            let left = x as i32;
            if entry.line {
                let ends =
                    [(left, y), (left + 26, y)].map(|(x, y)| (look.px(x), look.px(y)));
                let line = PathElement::new(ends, look.line(entry.ink, Weight::Bold));
                root.draw(&line).map_err(failed)?;
            }
            if let Some(shape) = entry.shape {
                point(
                    root,
                    (look.px(left + 13), look.px(y)),
                    shape,
                    entry.ink,
                    look,
                )?;
            }
            let text = clean(&clip(&entry.text, LONGEST));
            let at = (look.px(left + 32), look.px(y));
            root.draw_text(&text, &style, at).map_err(failed)?;
            x += entry_width(&entry.text, look);
        }
        y += 22;
    }
    Ok(())
}

/// An axis with its ticks, as plotters wants it.
#[derive(Clone)]
struct Scale {
    axis: Axis,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    fn new(axis: &Axis, most: usize) -> Self {
        Self {
            axis: axis.clone(),
            ticks: ticks(axis, most),
        }
    }

    fn text(&self, place: f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0 == place);
        tick.map_or_else(String::new, |tick| clean(&tick.1))
    }

    fn is_named(&self) -> bool {
        matches!(self.axis.ticks, Ticks::Named(_))
    }

    /// Cuts texts to some letters.
    fn clipped(mut self, letters: usize) -> Self {
        for tick in &mut self.ticks {
            tick.1 = clip(&tick.1, letters);
        }
        self
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let position = self.axis.position(*value).unwrap_or(0.0).clamp(-0.1, 1.1);
        let span = f64::from(limit.1 - limit.0);
        limit.0 + (span * position).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.axis.low..self.axis.high
    }
}

fn draw_panel<DB: DrawingBackend>(
    panel: &Panel,
    area: &Area<DB>,
    root: &Area<DB>,
    look: &Look,
) -> Result<(), Error> {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = ((width / look.zoom) as i32, (height / look.zoom) as i32);
    let letter = LETTER * f64::from(look.letters());
    let y = Scale::new(&panel.y, (height / 44) as usize);
    // Names may take a part of the width; numbers take what they need.
    let longest = |scale: &Scale| {
        let letters = scale.ticks.iter().map(|tick| tick.1.chars().count());
        letters.max().unwrap_or_default()
    };
    let most = if y.is_named() {
        f64::from(width) * 0.42 / letter
    } else {
        14.0
    };
    let y = y.clipped(most as usize);
    let title = if panel.y.title.is_empty() { 4 } else { 22 };
    let left = (longest(&y) as f64 * letter) as i32 + title + 14;
    let right = if panel.y.title.is_empty() && panel.x.title.is_empty() {
        4
    } else {
        18
    };
    let room = f64::from((width - left - right).max(40));
    let x = Scale::new(&panel.x, (room / 62.0) as usize);
    let x = match (x.is_named(), x.ticks.len()) {
        (true, count) if count > 0 => {
            x.clipped(((room / count as f64 / letter) as usize).max(3))
        }
        _ => x,
    };
    let bottom = if panel.x.title.is_empty() { 26 } else { 46 };
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(look.px(8))
        // The backend of pixels lets upright letters stand out by a little.
        .margin_left(look.px(4))
        .margin_right(look.px(right))
        .set_label_area_size(LabelAreaPosition::Left, look.px(left))
        .set_label_area_size(LabelAreaPosition::Bottom, look.px(bottom));
    let mut context = builder
        .build_cartesian_2d(x.clone(), y.clone())
        .map_err(failed)?;
    draw_mesh(&mut context, panel, (&x, &y), look)?;
    for mark in &panel.marks {
        draw_mark(mark, &context, root, look)?;
    }
    Ok(())
}

fn draw_mesh<DB: DrawingBackend>(
    context: &mut Context<'_, DB>,
    panel: &Panel,
    (x, y): (&Scale, &Scale),
    look: &Look,
) -> Result<(), Error> {
    let label = look.style(Ink::Text, look.letters());
    let hair = ShapeStyle {
        color: rgba(Ink::Grid, 1.0),
        filled: false,
        stroke_width: look.zoom,
    };
    let axis = ShapeStyle {
        color: rgba(Ink::Muted, 1.0),
        ..hair
    };
    let (text_x, text_y) = (|place: &f64| x.text(*place), |place: &f64| y.text(*place));
    let mut mesh = context.configure_mesh();
    mesh.x_labels(x.ticks.len().max(1))
        .y_labels(y.ticks.len().max(1))
        .x_label_formatter(&text_x)
        .y_label_formatter(&text_y)
        .label_style(label.clone())
        .axis_desc_style(label)
        .axis_style(axis)
        .bold_line_style(hair)
        .light_line_style(rgba(Ink::Grid, 0.0))
        .set_all_tick_mark_size(look.px(3));
    if x.is_named() {
        mesh.disable_x_mesh();
    }
    if y.is_named() {
        mesh.disable_y_mesh();
    }
    if y.is_named() && y.ticks.is_empty() {
        // Without an axis plotters leaves its texts out as well, so x keeps its own.
        mesh.disable_y_axis();
    }
    if !panel.x.title.is_empty() {
        mesh.x_desc(clean(&clip(&panel.x.title, 60)));
    }
    if !panel.y.title.is_empty() {
        mesh.y_desc(clean(&clip(&panel.y.title, 40)));
    }
    mesh.draw().map_err(failed)
}

fn draw_mark<DB: DrawingBackend>(
    mark: &Mark,
    context: &Context<'_, DB>,
    root: &Area<DB>,
    look: &Look,
) -> Result<(), Error> {
    let pixel = |place: &(f64, f64)| context.backend_coord(place);
    match mark {
        Mark::Line {
            points,
            ink,
            weight,
        } if points.len() > 1 => {
            let path: Vec<(i32, i32)> = points.iter().map(pixel).collect();
            let path = PathElement::new(path, look.line(*ink, *weight));
            root.draw(&path).map_err(failed)
        }
        // A line of one point has no length.
        Mark::Line { .. } => Ok(()),
        Mark::Points { points, ink, shape } => {
            for place in points {
                point(root, pixel(place), *shape, *ink, look)?;
            }
            Ok(())
        }
        Mark::Bar { from, to, ink } => {
            let (mut from, mut to) = (pixel(from), pixel(to));
            // What is there is seen, however short it is.
            if from.0 == to.0 {
                to.0 += look.px(1);
            }
            (from.1, to.1) = (from.1.min(to.1), from.1.max(to.1));
            let bar = Rectangle::new([from, to], rgb(*ink).filled());
            root.draw(&bar).map_err(failed)
        }
        Mark::Text { at, text } => {
            let (x, y) = pixel(at);
            let style = look.style(Ink::Text, look.letters() - 1);
            let style = style.pos(Pos::new(HPos::Left, VPos::Center));
            let at = (x + look.px(5), y);
            root.draw_text(&clean(text), &style, at).map_err(failed)
        }
    }
}

/// A shape around a pixel.
fn point<DB: DrawingBackend>(
    root: &Area<DB>,
    (x, y): (i32, i32),
    shape: Shape,
    ink: Ink,
    look: &Look,
) -> Result<(), Error> {
    let size = look.px(if look.narrow { 4 } else { 5 });
    let fill = rgb(ink).filled();
    let line = look.line(ink, Weight::Bold);
    let around = |corners: &[(i32, i32)]| -> Vec<(i32, i32)> {
        corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect()
    };
    match shape {
        Shape::Dot => {
            let dot = Circle::new((x, y), size * 3 / 5, rgba(ink, 0.7).filled());
            root.draw(&dot)
        }
        Shape::Circle => root.draw(&Circle::new((x, y), size * 9 / 10, fill)),
        Shape::Ring => root.draw(&Circle::new((x, y), size * 9 / 10, line)),
        Shape::Triangle => root.draw(&TriangleMarker::new((x, y), size * 6 / 5, fill)),
        Shape::Cross => root.draw(&Cross::new((x, y), size, line)),
        Shape::Square => {
            let half = size * 4 / 5;
            root.draw(&Rectangle::new(
                [(x - half, y - half), (x + half, y + half)],
                fill,
            ))
        }
        Shape::Diamond => {
            let tip = size * 6 / 5;
            let corners = around(&[(0, -tip), (tip, 0), (0, tip), (-tip, 0)]);
            root.draw(&Polygon::new(corners, fill))
        }
    }
    .map_err(failed)
}
