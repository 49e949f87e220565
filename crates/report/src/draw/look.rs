//! How large a chart is and what its lines and letters look like.

use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, RGBAColor, RGBColor, ShapeStyle, TextStyle,
};

use super::Ink;
use crate::chart::{Chart, Kind, Panel, Ticks, Weight};

/// The backends divide by this what they are given as the size of a font.
const FONT_UNIT: f64 = 1.24;
/// The mean width of a letter, in its size.
pub(super) const LETTER: f64 = 0.58;

/// How large, and for what, a chart is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Units of the backend a pixel.
    pub(super) zoom: u32,
    /// For a telephone.
    pub(super) narrow: bool,
    /// With its title.
    pub(super) titled: bool,
}

impl Look {
    pub(super) fn px(&self, pixels: i32) -> i32 {
        pixels * self.zoom as i32
    }

    pub(super) fn letters(&self) -> i32 {
        if self.narrow { 12 } else { 13 }
    }

    pub(super) fn width(&self) -> u32 {
        if self.narrow { 370 } else { 920 }
    }

    pub(super) fn columns(&self, chart: &Chart) -> usize {
        let most = if self.narrow { 1 } else { 3 };
        chart.panels.len().clamp(1, most)
    }

    pub(super) fn panel_height(&self, chart: &Chart) -> i32 {
        let rows = |panel: &Panel| match &panel.y.ticks {
            Ticks::Named(names) => names.len() as i32,
            Ticks::Numbers | Ticks::Percent | Ticks::Whole => 0,
        };
        let rows = chart.panels.first().map_or(0, rows);
        match (chart.kind, self.narrow) {
            (Kind::Importance | Kind::Errors, _) => 26 * rows + 64,
            (Kind::Timeline, _) => (22 * rows).max(44) + 64,
            (Kind::Slices, true) => 210,
            (Kind::Slices, false) if chart.panels.len() > 1 => 250,
            (Kind::SpeedUp | Kind::Scores | Kind::Throughput, false) => 300,
            (Kind::Parallel, true) => 340,
            (_, true) => 290,
            (_, false) => 400,
        }
    }

    pub(super) fn style(&self, ink: Ink, size: i32) -> TextStyle<'static> {
        let size = f64::from(self.px(size)) * FONT_UNIT;
        let font = FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal);
        let (red, green, blue) = ink.rgb();
        let mut style = TextStyle::from(font);
        style.color.rgb = (red, green, blue);
        style
    }

    pub(super) fn line(&self, ink: Ink, weight: Weight) -> ShapeStyle {
        let (alpha, tenths) = match weight {
            Weight::Faint => (0.35, 10),
            Weight::Thin => (0.75, 12),
            Weight::Bold => (1.0, 20),
        };
        ShapeStyle {
            color: rgba(ink, alpha),
            filled: false,
            stroke_width: (tenths * self.zoom / 10).max(1),
        }
    }
}

pub(super) fn rgb(ink: Ink) -> RGBColor {
    let (red, green, blue) = ink.rgb();
    RGBColor(red, green, blue)
}

pub(super) fn rgba(ink: Ink, alpha: f64) -> RGBAColor {
    rgb(ink).mix(alpha)
}

/// The size of a chart in pixels.
pub(super) fn size(chart: &Chart, look: &Look) -> (u32, u32) {
    let rows = chart.panels.len().div_ceil(look.columns(chart)) as i32;
    let height = header(chart, look) + rows * look.panel_height(chart) + 4;
    (look.width(), height.max(1) as u32)
}

/// Pixels above the panels.
pub(super) fn header(chart: &Chart, look: &Look) -> i32 {
    let title = if look.titled { 34 } else { 4 };
    title + legend_rows(chart, look).len() as i32 * 22
}

/// The entries of the legend by line.
pub(super) fn legend_rows(chart: &Chart, look: &Look) -> Vec<Vec<usize>> {
    let room = f64::from(look.width()) - 16.0;
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut used = room;
    for (index, entry) in chart.legend.iter().enumerate() {
        let width = entry_width(&entry.text, look);
        match rows.last_mut() {
            Some(row) if used + width <= room => {
                row.push(index);
                used += width;
            }
            _ => {
                rows.push(vec![index]);
                used = width;
            }
        }
    }
    rows
}

pub(super) fn entry_width(text: &str, look: &Look) -> f64 {
    52.0 + text.chars().count().min(LONGEST) as f64 * LETTER * f64::from(look.letters())
}

/// Letters of an entry of the legend.
pub(super) const LONGEST: usize = 48;
