//! Decodes files of any layout: components in scans of their own, of any size, sequential
//! or progressive, gray or in three or four colours.
//!
//! The pixels are those of libjpeg-turbo, and so of Pillow. Where that refuses, for MCUs of
//! many blocks or a sampling that is no whole share of the largest, the standard says what
//! the file means all the same.

use super::baseline::Plane;
use super::damaged::DamagedScan;
use super::header::{FrameComponent, JpegHeader, restart_interval};
use super::huffman::{DcTable, ZIGZAG};
use super::idct::idct;
use super::pixels::{Samples, Scaled, Scaling};
use super::progressive::{Pass, Selection};
use super::scan::{Codes, ScanGrid};
use super::segments::{
    END_OF_IMAGE, HUFFMAN_TABLES, QUANTIZATION_TABLES, RESTART_INTERVAL, START_OF_SCAN,
    Segment, corrupt, unsupported,
};
use super::tables::{Component, Made, Tables};
use crate::buffer::Buffer;
use crate::rows::to_image;
use crate::simd::{SimdWork, dispatch};
use crate::{Error, Image};

/// The most scans of a file that are read. Each takes the time of all of its blocks, however
/// few bytes it has, so a file of thousands of empty scans would take minutes. Encoders
/// write about ten.
const MOST_SCANS: usize = 500;
/// The same for sequential files, whose encoders write one scan a component at most.
const MOST_SEQUENTIAL_SCANS: usize = 16;

/// What to do about a code that the file's tables do not have.
#[derive(Clone, Copy, PartialEq)]
enum DamagedCodes {
    /// Fail.
    Refuse,
    /// Read on as libjpeg does, with what is left.
    Forgive,
}

/// Decodes all scans. Files whose codes are damaged are decoded a second time, as far as it
/// goes; the fast way knows of a damage only when it fails.
pub(crate) fn decode(bytes: &[u8], header: &JpegHeader) -> Result<Image, Error> {
    let decoded = decode_scans(bytes, Decoder::new(header, DamagedCodes::Refuse));
    decoded.or_else(|_| decode_scans(bytes, Decoder::new(header, DamagedCodes::Forgive)))
}

fn decode_scans(bytes: &[u8], mut decoder: Decoder<'_>) -> Result<Image, Error> {
    let header = decoder.header;
    let mut at = header.first_scan;
    loop {
        let segment = Segment::next(bytes, at)?;
        at = segment.end;
        match segment.marker {
            END_OF_IMAGE => return decoder.finish(),
            QUANTIZATION_TABLES => decoder.tables.read_quantization(segment.data)?,
            HUFFMAN_TABLES => decoder.tables.read_huffman(segment.data)?,
            RESTART_INTERVAL => decoder.restart = restart_interval(segment.data)?,
            START_OF_SCAN => {
                at += decoder.scan(segment.data, &bytes[at..])?;
            }
            0xc0..=0xcf => return Err(corrupt("it has several frame headers")),
            _ => {}
        }
    }
}

/// The image as far as the scans read so far define it.
struct Decoder<'a> {
    header: &'a JpegHeader,
    damaged: DamagedCodes,
    tables: Tables,
    restart: usize,
    scans: usize,
    layers: Vec<ComponentSamples>,
}

/// One component as far as the scans read so far define it.
struct ComponentSamples {
    frame: FrameComponent,
    /// That of its first scan, which holds for all of them; `None` before.
    quantization: Option<[i32; 64]>,
    /// Blocks in a row, with those that fill the last MCU.
    stride: usize,
    /// In zigzag order, of progressive files only.
    coefficients: Vec<[i16; 64]>,
    plane: Plane,
}

impl ComponentSamples {
    fn new(header: &JpegHeader, component: usize) -> Self {
        let frame = header.frame[component];
        let mcus = header.mcus();
        let (across, down) = (mcus.0 * frame.sampling.0, mcus.1 * frame.sampling.1);
        let count = if header.is_progressive {
            across * down
        } else {
            0
        };
        ComponentSamples {
            frame,
            quantization: None,
            stride: across,
            coefficients: vec![[0; 64]; count],
            plane: Plane {
                stride: 8 * across,
                first: (0, 0),
                size: header.samples(component),
                data: Buffer::of_len(64 * across * down),
            },
        }
    }

    /// Where the samples of a block begin.
    #[inline(always)]
    fn block(&mut self, (x, y): (usize, usize)) -> (&mut [u8], usize) {
        let stride = self.plane.stride;
        (&mut self.plane.data[8 * (y * stride + x)..], stride)
    }
}

impl<'a> Decoder<'a> {
    fn new(header: &'a JpegHeader, damaged: DamagedCodes) -> Self {
        let count = header.frame.len();
        Decoder {
            header,
            damaged,
            tables: header.tables.clone(),
            restart: header.restart,
            scans: 0,
            layers: (0..count)
                .map(|n| ComponentSamples::new(header, n))
                .collect(),
        }
    }

    /// Decodes a scan, by its header and the bytes after it. Returns how many are its codes.
    fn scan(&mut self, header: &[u8], bytes: &[u8]) -> Result<usize, Error> {
        let bad = || corrupt("the header of a scan is damaged");
        self.scans += 1;
        let most = if self.header.is_progressive {
            MOST_SCANS
        } else {
            MOST_SEQUENTIAL_SCANS
        };
        if self.scans > most {
            return Err(unsupported(format!("JPEG of more than {most} scans")));
        }
        let (&count, rest) = header.split_first().ok_or_else(bad)?;
        let parts = rest.split_at_checked(2 * usize::from(count));
        let Some((choices, &[first, last, bits])) = parts else {
            return Err(bad());
        };
        let mut components = Vec::new();
        let choices = choices.as_chunks::<2>().0;
        for [id, _] in choices {
            let mut places = 0..self.layers.len();
            let place = places
                .find(|n| self.layers[*n].frame.id == *id && !components.contains(n));
            components.push(place.ok_or_else(bad)?);
        }
        if components.is_empty() {
            return Err(bad());
        }
        for n in &components {
            let layer = &mut self.layers[*n];
            if layer.quantization.is_none() {
                let table = self.tables.quantization(layer.frame.quantization)?;
                layer.quantization = Some(table);
            }
        }
        let choices: Vec<u8> = choices.iter().map(|[_, tables]| *tables).collect();
        let grid = ScanGrid::new(self.header, &components, self.restart);
        let bad_codes = || corrupt("the codes of a scan are damaged");
        if self.damaged == DamagedCodes::Forgive && !self.header.is_progressive {
            return self.damaged(&components, &choices, &grid, bytes);
        }
        let (codes, length) = Codes::read(bytes);
        let done = if self.header.is_progressive {
            let selection = Selection::new([first, last, bits], components.len());
            let selection = selection.ok_or_else(bad)?;
            self.progressive(&components, &choices, selection, &grid, &codes)?
        } else {
            self.sequential(&components, &choices, &grid, &codes)?
        };
        done.map(|()| length).ok_or_else(bad_codes)
    }

    /// Decodes a sequential scan whose codes are damaged.
    fn damaged(
        &mut self,
        components: &[usize],
        choices: &[u8],
        grid: &ScanGrid,
        bytes: &[u8],
    ) -> Result<usize, Error> {
        let tables = components.iter().zip(choices).map(|(n, choice)| {
            let quantization = self.layers[*n].quantization.unwrap_or([0; 64]);
            self.tables.damaged(quantization, *choice)
        });
        let tables = tables.collect::<Result<Vec<_>, _>>()?;
        let layers = &mut self.layers;
        DamagedScan::new(bytes).read(grid, &tables, |n, place, block, last| {
            let (out, stride) = layers[components[n]].block(place);
            // There is no hurry: few files are damaged.
            idct::<false>(block, last, out, stride);
        })
    }

    fn sequential(
        &mut self,
        components: &[usize],
        choices: &[u8],
        grid: &ScanGrid,
        codes: &Codes,
    ) -> Result<Option<()>, Error> {
        let mut made = Made::default();
        let tables = components.iter().zip(choices).map(|(n, choice)| {
            let quantization = self.layers[*n].quantization.unwrap_or([0; 64]);
            self.tables.component(quantization, *choice, &mut made)
        });
        let tables = tables.collect::<Result<Vec<_>, _>>()?;
        Ok(dispatch(Sequential {
            grid,
            codes,
            components,
            tables: &tables,
            layers: &mut self.layers,
        }))
    }

    fn progressive(
        &mut self,
        components: &[usize],
        choices: &[u8],
        selection: Selection,
        grid: &ScanGrid,
        codes: &Codes,
    ) -> Result<Option<()>, Error> {
        let ac = usize::from(choices.first().copied().unwrap_or_default() & 15);
        let pass = selection.pass(|| self.tables.symbols(ac))?;
        let mut dc = Vec::new();
        if matches!(pass, Pass::First) {
            for choice in choices {
                dc.push(self.tables.dc(usize::from(choice >> 4))?);
            }
        }
        Ok(dispatch(Progressive {
            grid,
            codes,
            components,
            dc: &dc,
            pass: &pass,
            low: selection.low,
            is_forgiven: self.damaged == DamagedCodes::Forgive,
            layers: &mut self.layers,
        }))
    }

    /// Makes the pixels.
    fn finish(mut self) -> Result<Image, Error> {
        let missing = self
            .layers
            .iter()
            .find(|layer| layer.quantization.is_none());
        if let Some(ComponentSamples { frame, .. }) = missing {
            let reason = format!("no scan has the component {}", frame.id);
            return Err(corrupt(reason));
        }
        if self.header.is_progressive {
            for (n, layer) in self.layers.iter_mut().enumerate() {
                let blocks = self.header.blocks(n);
                dispatch(Transform { layer, blocks });
            }
        }
        let most = self.header.sampling();
        let planes = self.layers.into_iter().map(|layer| Scaled {
            scaling: Scaling::new(layer.frame.sampling, most, layer.plane.size.0),
            plane: layer.plane,
        });
        let size = (self.header.width, self.header.height);
        let planes = planes.collect();
        to_image(&mut Samples::new(size, self.header.colors, planes))
    }
}

/// A scan of a sequential file.
struct Sequential<'a> {
    grid: &'a ScanGrid,
    codes: &'a Codes,
    /// Places in the frame.
    components: &'a [usize],
    tables: &'a [Component],
    layers: &'a mut [ComponentSamples],
}

impl SimdWork for Sequential<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run<const AVX2: bool>(self) -> Option<()> {
        let mut coefficients = [0; 64];
        self.grid
            .walk(self.codes, false, |bits, progress, n, place| {
                let prediction = &mut progress.predictions[n];
                let last = bits.block(&self.tables[n], prediction, &mut coefficients)?;
                let (out, stride) = self.layers[self.components[n]].block(place);
                idct::<AVX2>(&coefficients, last, out, stride);
                coefficients = [0; 64];
                Some(())
            })
    }
}

/// A scan of a progressive file.
struct Progressive<'a> {
    grid: &'a ScanGrid,
    codes: &'a Codes,
    /// Places in the frame.
    components: &'a [usize],
    /// For each of them, if the scan has any.
    dc: &'a [DcTable],
    pass: &'a Pass,
    low: u32,
    is_forgiven: bool,
    layers: &'a mut [ComponentSamples],
}

impl SimdWork for Progressive<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run<const AVX2: bool>(self) -> Option<()> {
        let forgiven = self.is_forgiven;
        self.grid
            .walk(self.codes, forgiven, |bits, progress, n, (x, y)| {
                let layer = &mut self.layers[self.components[n]];
                let block = &mut layer.coefficients[y * layer.stride + x];
                let before = (&mut progress.predictions[n], &mut progress.run);
                self.pass
                    .block(self.low, bits, self.dc.get(n), before, block)
            })
    }
}

/// Makes the samples of a component of a progressive file.
struct Transform<'a> {
    layer: &'a mut ComponentSamples,
    blocks: (usize, usize),
}

impl SimdWork for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const AVX2: bool>(self) {
        let quantization = self.layer.quantization.unwrap_or([0; 64]);
        for (y, x) in
            (0..self.blocks.1).flat_map(|y| (0..self.blocks.0).map(move |x| (y, x)))
        {
            let block = self.layer.coefficients[y * self.layer.stride + x];
            let mut coefficients = [0; 64];
            for (place, number) in block.iter().enumerate() {
                // Wrapped to 16 bits, as in libjpeg-turbo.
                let number = i32::from(*number).wrapping_mul(quantization[place]);
                coefficients[usize::from(ZIGZAG[place])] = number as i16;
            }
            let last = block.iter().rposition(|number| *number != 0);
            let (out, stride) = self.layer.block((x, y));
            idct::<AVX2>(&coefficients, last.unwrap_or(0), out, stride);
        }
    }
}
