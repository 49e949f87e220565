//! Drawings of characters.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};
use ratatui_core::symbols::Marker;
use ratatui_core::text::Span;
use ratatui_core::widgets::Widget;
use ratatui_widgets::barchart::{Bar, BarChart};
use ratatui_widgets::canvas::{Canvas, Context, Line, Points};

use super::ticks::ticks;
use super::{Ink, clean};
use crate::Error;
use crate::chart::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Ticks};
use crate::format::clip;

/// Narrower than this nothing can be read.
const NARROWEST: usize = 30;
/// Wider than this the eye loses its line.
const WIDEST: usize = 110;
/// The least width of one of several panels.
const PANEL_WIDTH: u16 = 36;
/// Lines of a panel, its axes included.
const HEIGHT: u16 = 18;
const SMALL_HEIGHT: u16 = 11;
/// What a share of 1 is as the whole number that the bar widget takes.
const WHOLE: f64 = 1e6;

/// A drawing of `width` characters a line, at least 30.
pub fn terminal(chart: &Chart, width: usize, colors: bool) -> Result<String, Error> {
    if width < NARROWEST {
        return Err(Error::Drawing(format!(
            "it takes {NARROWEST} columns, and the terminal has {width}"
        )));
    }
    let width = width.min(WIDEST);
    let mut text = format!("{}\n", clean(&clip(&chart.title, width)));
    text += &legend(&chart.legend, width, colors);
    // Bounded by WIDEST.
    let width = width as u16;
    let columns = match chart.panels.len() {
        0 | 1 => 1,
        panels => (width / PANEL_WIDTH).clamp(1, 3).min(panels as u16),
    };
    for row in chart.panels.chunks(usize::from(columns)) {
        let height = row.iter().map(|panel| height(chart.kind, panel)).max();
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height.unwrap_or(1)));
        let share = width / columns;
        for (column, panel) in (0..columns).zip(row) {
            let area = Rect {
                x: column * share,
                width: share.saturating_sub(u16::from(columns > 1) * 2),
                ..buffer.area
            };
            draw_panel(panel, area, &mut buffer);
        }
        text += &lines(&buffer, colors);
    }
    Ok(text)
}

fn height(kind: Kind, panel: &Panel) -> u16 {
    match (&panel.y.ticks, kind) {
        (Ticks::Named(names), Kind::Timeline) => {
            2 * u16::try_from(names.len()).unwrap_or(HEIGHT).clamp(1, 30) + 3
        }
        (Ticks::Named(names), _) if is_bars(panel) => {
            u16::try_from(names.len()).unwrap_or(HEIGHT).clamp(1, 60)
        }
        (_, Kind::Slices) => SMALL_HEIGHT,
        _ => HEIGHT,
    }
}

fn style(ink: Ink) -> Style {
    Style::new().fg(color(ink))
}

fn color(ink: Ink) -> Color {
    ink.indexed().map_or(Color::Reset, Color::Indexed)
}

fn symbol(shape: Shape) -> char {
    match shape {
        Shape::Dot => '·',
        Shape::Circle => '●',
        Shape::Square => '■',
        Shape::Triangle => '▲',
        Shape::Diamond => '◆',
        Shape::Cross => '✕',
        Shape::Ring => '○',
    }
}

fn legend(entries: &[Entry], width: usize, colors: bool) -> String {
    let mut text = String::new();
    let mut used = 0;
    for entry in entries {
        let symbol = entry.shape.map_or('─', symbol);
        let name = clean(&clip(&entry.text, width.saturating_sub(5)));
        let length = name.chars().count() + 5;
        if used > 0 && used + length > width {
            text.push('\n');
            used = 0;
        }
        text += &paint(&symbol.to_string(), color(entry.ink), colors);
        text += &format!(" {name}   ");
        used += length;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Whether a panel has bars from the left, one a name.
fn is_bars(panel: &Panel) -> bool {
    let from_zero = |mark: &Mark| match mark {
        Mark::Bar { from, .. } => from.0 == 0.0,
        Mark::Text { .. } => true,
        Mark::Line { .. } | Mark::Points { .. } => false,
    };
    let named = matches!(&panel.y.ticks, Ticks::Named(names) if !names.is_empty());
    named && !panel.x.title.contains(" since ") && panel.marks.iter().all(from_zero)
}

fn draw_panel(panel: &Panel, area: Rect, buffer: &mut Buffer) {
    if is_bars(panel) {
        draw_bars(panel, area, buffer);
    } else {
        draw_axes(panel, area, buffer);
    }
}

fn draw_bars(panel: &Panel, area: Rect, buffer: &mut Buffer) {
    let Ticks::Named(names) = &panel.y.ticks else {
        return;
    };
    let texts = panel.marks.iter().filter_map(|mark| match mark {
        Mark::Text { text, .. } => Some(text),
        _ => None,
    });
    let bars = panel.marks.iter().filter_map(|mark| match mark {
        Mark::Bar { to, ink, .. } => Some((to.0, *ink)),
        _ => None,
    });
    let bars: Vec<Bar<'_>> = names
        .iter()
        .zip(bars.zip(texts))
        .map(|((_, name), ((value, ink), text))| {
            let share = (value / panel.x.high).clamp(0.0, 1.0);
            Bar::default()
                .label(format!("{} {}", clean(&clip(name, 28)), clean(text)))
                .text_value(String::new())
                .style(style(ink))
                .value((share * WHOLE) as u64)
        })
        .collect();
    BarChart::horizontal(bars)
        .bar_width(1)
        .bar_gap(0)
        .max(WHOLE as u64)
        .render(area, buffer);
}

/// The place of a value along an axis; names fill it from end to end.
fn place(axis: &Axis, value: f64) -> f64 {
    axis.position(value).unwrap_or(0.0)
}

fn draw_axes(panel: &Panel, area: Rect, buffer: &mut Buffer) {
    let rows = area.height.saturating_sub(3);
    let y_ticks = ticks(&panel.y, usize::from(rows / 3).max(2));
    let most = usize::from(area.width / 3);
    let label = |text: &str| clean(&clip(text, most.min(26)));
    let left = y_ticks
        .iter()
        .map(|tick| Span::raw(label(&tick.1)).width())
        .max();
    let left = u16::try_from(left.unwrap_or_default()).unwrap_or(most as u16) + 1;
    let plot = Rect {
        x: area.x + left + 1,
        y: area.y,
        width: area.width.saturating_sub(left + 2).max(1),
        height: rows.max(1),
    };
    let dim = style(Ink::Muted);
    for y in plot.top()..plot.bottom() {
        buffer.set_string(plot.x - 1, y, "│", dim);
    }
    for (value, text) in &y_ticks {
        let share = place(&panel.y, *value).clamp(0.0, 1.0);
        let row = f64::from(plot.height - 1) * (1.0 - share);
        let (text, y) = (label(text), plot.y + row.round() as u16);
        let width = u16::try_from(Span::raw(text.as_str()).width()).unwrap_or(left);
        buffer.set_string(
            area.x + left.saturating_sub(width + 1),
            y,
            text,
            Style::new(),
        );
        buffer.set_string(plot.x - 1, y, "┤", dim);
    }
    draw_x_axis(panel, plot, buffer);
    Canvas::default()
        .x_bounds([0.0, 1.0])
        .y_bounds([0.0, 1.0])
        .marker(Marker::Braille)
        .paint(|context| draw_marks(panel, context))
        .render(plot, buffer);
}

fn draw_x_axis(panel: &Panel, plot: Rect, buffer: &mut Buffer) {
    let dim = style(Ink::Muted);
    let bottom = plot.bottom();
    let line = "─".repeat(usize::from(plot.width));
    buffer.set_string(plot.x - 1, bottom, format!("└{line}"), dim);
    let x_ticks = ticks(&panel.x, usize::from(plot.width / 9).max(2));
    let room = usize::from(plot.width) / x_ticks.len().max(1);
    let mut free = 0;
    for (value, text) in &x_ticks {
        let share = place(&panel.x, *value).clamp(0.0, 1.0);
        let column = plot.x + (f64::from(plot.width - 1) * share).round() as u16;
        let text = match panel.x.ticks {
            Ticks::Named(_) => clean(&clip(text, room.max(4) - 1)),
            _ => clean(text),
        };
        let width = u16::try_from(Span::raw(text.as_str()).width()).unwrap_or(u16::MAX);
        let start = column.saturating_sub(width / 2);
        let start = start.min((plot.right() + 1).saturating_sub(width));
        buffer.set_string(column, bottom, "┴", dim);
        if start >= free {
            buffer.set_string(start, bottom + 1, &text, Style::new());
            free = start + width + 1;
        }
    }
    let title = match panel.y.title.is_empty() {
        true => panel.x.title.clone(),
        false => format!("{} (upwards: {})", panel.x.title, panel.y.title),
    };
    let title = clean(&clip(&title, usize::from(plot.width)));
    buffer.set_string(plot.x, bottom + 2, title, dim);
}

fn draw_marks(panel: &Panel, context: &mut Context<'_>) {
    let at = |(x, y): &(f64, f64)| (place(&panel.x, *x), place(&panel.y, *y));
    for mark in &panel.marks {
        match mark {
            Mark::Line { points, ink, .. } => {
                context.marker(Marker::Braille);
                for ends in points.windows(2) {
                    let ((x1, y1), (x2, y2)) = (at(&ends[0]), at(&ends[1]));
                    let color = color(*ink);
                    context.draw(&Line::new(x1, y1, x2, y2, color));
                }
            }
            Mark::Points { points, ink, shape } => {
                context.marker(Marker::Custom(symbol(*shape)));
                let coords: Vec<(f64, f64)> = points.iter().map(at).collect();
                context.draw(&Points::new(&coords, color(*ink)));
            }
            Mark::Bar { from, to, ink } => {
                context.marker(Marker::Braille);
                let ((x1, y1), (x2, y2)) = (at(from), at(to));
                // Upright bars stand side by side, lying ones in lines of their own.
                const STROKES: i32 = 96;
                for stroke in 0..=STROKES {
                    let share = f64::from(stroke) / f64::from(STROKES);
                    let y = y1 + (y2 - y1) * share;
                    context.draw(&Line::new(x1, y, x2, y, color(*ink)));
                }
            }
            Mark::Text { at: place, text } => {
                let (x, y) = at(place);
                context.print(x, y, format!(" {}", clean(text)));
            }
        }
    }
}

/// The characters of a buffer, without spaces at the ends of lines.
fn lines(buffer: &Buffer, colors: bool) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        // Neighbours of one colour; what is blank has the colour of what is before.
        let mut run = (String::new(), Color::Reset);
        let mut blank = 0;
        let mut x = buffer.area.left();
        while x < buffer.area.right() {
            let cell = &buffer[(x, y)];
            let symbol = cell.symbol();
            // A wide character covers the cell after it.
            x += u16::try_from(Span::raw(symbol).width()).unwrap_or(1).max(1);
            if symbol == " " || symbol == "\u{2800}" {
                blank += 1;
                continue;
            }
            run.0.extend(std::iter::repeat_n(' ', blank));
            blank = 0;
            if run.1 != cell.fg {
                text += &paint(&run.0, run.1, colors);
                run = (String::new(), cell.fg);
            }
            run.0 += symbol;
        }
        text += &paint(&run.0, run.1, colors);
        text.push('\n');
    }
    text
}

fn paint(text: &str, color: Color, colors: bool) -> String {
    match color {
        Color::Indexed(index) if colors => format!("\x1b[38;5;{index}m{text}\x1b[0m"),
        _ => text.to_string(),
    }
}
