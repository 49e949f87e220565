//! Drawings for pages and files.

use std::fmt::Write;

use plotters::backend::SVGBackend;

use super::look::{Look, size};
use super::picture::draw;
use super::{Ink, clean, dark_rules};
use crate::Error;
use crate::chart::Chart;

/// Units of the drawing a pixel: the backend rounds to whole units.
const ZOOM: u32 = 4;

/// An SVG file of its own, light or dark as the reader's screen is.
pub fn svg(chart: &Chart) -> Result<String, Error> {
    let look = Look {
        zoom: ZOOM,
        narrow: false,
        titled: true,
    };
    let (body, (width, height)) = body(chart, &look)?;
    let (paper_red, paper_green, paper_blue) = Ink::Paper.rgb();
    let mut file = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"title description\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n<style>\
         svg{{font-family:{FONTS}}}\
         @media (prefers-color-scheme:dark){{{}}}</style>\n",
        width * ZOOM,
        height * ZOOM,
        escape(&chart.title),
        escape(&chart.description),
        dark_rules(),
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        file,
        "<rect width=\"100%\" height=\"100%\" \
         fill=\"#{paper_red:02X}{paper_green:02X}{paper_blue:02X}\"/>"
    );
    file.push_str(&body);
    Ok(file)
}

/// The fonts of a drawing, as far as the reader has them.
const FONTS: &str = "system-ui,'DejaVu Sans',sans-serif";

/// A drawing inside a page, for wide screens or narrow ones. The page has its title,
/// colours and fonts; `label` is what a screen reader says.
pub(crate) fn inline(chart: &Chart, narrow: bool) -> Result<String, Error> {
    let look = Look {
        zoom: ZOOM,
        narrow,
        titled: false,
    };
    let (body, (width, height)) = body(chart, &look)?;
    Ok(format!(
        "<svg class=\"{}\" viewBox=\"0 0 {} {}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\">{body}",
        if narrow { "narrow" } else { "wide" },
        width * ZOOM,
        height * ZOOM,
        escape(&chart.title),
    ))
}

/// What is between the first tag and the end of the file, the last tag included.
fn body(chart: &Chart, look: &Look) -> Result<(String, (u32, u32)), Error> {
    let (width, height) = size(chart, look);
    let mut text = String::new();
    draw(
        chart,
        SVGBackend::with_string(&mut text, (width * ZOOM, height * ZOOM)),
        look,
    )?;
    let (_, body) = text
        .split_once('>')
        .ok_or_else(|| Error::Drawing("the drawing is empty".to_string()))?;
    // Quotes in texts are escaped, so these are attributes.
    let body = body
        .replace(" opacity=\"1\"", "")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(" stroke=\"none\"", "");
    Ok((body, (width, height)))
}

fn escape(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
