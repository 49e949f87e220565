//! The inverse cosine transform, in the whole numbers of libjpeg's `jidctint.c`: the same
//! pixels to the bit as everything that decodes with it, Pillow included.

#[cfg(target_arch = "x86_64")]
mod avx2;

type Block = [[i32; 8]; 8];

/// The order of rows and of columns in memory: the transform multiplies neighbours by two
/// factors and sums them.
const ORDER: [usize; 8] = [0, 4, 2, 6, 7, 1, 5, 3];

/// Where the coefficient of a row and a column is: two rows of [`ORDER`] stand next to
/// each other, number by number, and their numbers in the same order.
pub(super) const fn index(row: usize, column: usize) -> usize {
    let (mut y, mut x) = (0, 0);
    while ORDER[y] != row {
        y += 1;
    }
    while ORDER[x] != column {
        x += 1;
    }
    y / 2 * 16 + x * 2 + y % 2
}

/// Turns coefficients, each at its [`index`], into pixels: eight bytes at the beginning of
/// each of eight rows, which are `stride` apart. `last` is the place of the last coefficient
/// in the zigzag; there is nothing to compute when it is the first.
///
/// `AVX2` promises that the processor has these instructions.
#[inline(always)]
pub(super) fn idct<const AVX2: bool>(
    coefficients: &[i16; 64],
    last: usize,
    out: &mut [u8],
    stride: usize,
) {
    if last == 0 {
        let sum = i32::from(coefficients[0]) << 2;
        let row = [pixel((sum + 16) >> 5); 8];
        return put(&[row; 8], out, stride);
    }
    #[cfg(target_arch = "x86_64")]
    if AVX2 {
        #[expect(
            unsafe_code,
            reason = "the only way to call it from a general function"
        )]
        // SAFETY: the caller promises what the function needs.
        return unsafe { avx2::idct(coefficients, out, stride) };
    }
    put(&portable(coefficients, last), out, stride);
}

#[inline(always)]
fn put(pixels: &[[u8; 8]; 8], out: &mut [u8], stride: usize) {
    for (row, pixels) in out.chunks_mut(stride).zip(pixels) {
        row[..8].copy_from_slice(pixels);
    }
}

#[inline(always)]
fn portable(coefficients: &[i16; 64], last: usize) -> [[u8; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for (y, row) in rows.iter_mut().enumerate() {
        for (x, coefficient) in row.iter_mut().enumerate() {
            *coefficient = i32::from(coefficients[const { indices() }[y][x]]);
        }
    }
    // Columns first. The second pass runs over rows that became columns, so that both
    // do the same to eight neighbours at a time.
    let rows = if last < FIRST_BEYOND {
        let rows = transpose(&pass::<11, true>(&rows));
        transpose(&pass::<18, true>(&rows))
    } else {
        let rows = transpose(&pass::<11, false>(&rows));
        transpose(&pass::<18, false>(&rows))
    };
    let mut pixels = [[0; 8]; 8];
    for (pixels, row) in pixels.iter_mut().zip(&rows) {
        for (out, value) in pixels.iter_mut().zip(row) {
            *out = pixel(*value);
        }
    }
    pixels
}

/// All of [`index`].
const fn indices() -> [[usize; 8]; 8] {
    let mut out = [[0; 8]; 8];
    let mut at = 0;
    while at < 64 {
        out[at / 8][at % 8] = index(at / 8, at % 8);
        at += 1;
    }
    out
}

#[inline(always)]
fn pixel(value: i32) -> u8 {
    // In range after the clamp.
    (value.clamp(-128, 127) + 128) as u8
}

#[inline(always)]
fn transpose(rows: &Block) -> Block {
    let mut out = [[0; 8]; 8];
    for (y, row) in rows.iter().enumerate() {
        for (x, value) in row.iter().enumerate() {
            out[x][y] = *value;
        }
    }
    out
}

/// The first place of the zigzag that is not in the first four rows and columns.
const FIRST_BEYOND: usize = 10;

/// The transform of eight columns, rounded and shifted right by `SHIFT`. `HALF` says that
/// the lower four rows are zeros, as most of chroma is.
///
/// Damaged files overflow, which must be the same on every machine: what passes on are
/// numbers of 16 bits, as in libjpeg-turbo.
#[inline(always)]
fn pass<const SHIFT: u32, const HALF: bool>(rows: &Block) -> Block {
    let mut out = [[0; 8]; 8];
    for column in 0..8 {
        let at = |row: usize| {
            if HALF && row >= 4 {
                0
            } else {
                rows[row][column]
            }
        };
        let times = |value: i32, factor: i32| value.wrapping_mul(factor);
        let sum = |a: i32, b: i32| a.wrapping_add(b);
        let difference = |a: i32, b: i32| a.wrapping_sub(b);

        // The factors are cosines times 8192, named after their values in jidctint.c.
        let z1 = times(sum(at(2), at(6)), 4_433);
        let tmp2 = sum(z1, times(at(6), -15_137));
        let tmp3 = sum(z1, times(at(2), 6_270));
        let tmp0 = sum(at(0), at(4)) << 13;
        let tmp1 = difference(at(0), at(4)) << 13;
        let (tmp10, tmp13) = (sum(tmp0, tmp3), difference(tmp0, tmp3));
        let (tmp11, tmp12) = (sum(tmp1, tmp2), difference(tmp1, tmp2));

        let (tmp0, tmp1, tmp2, tmp3) = (at(7), at(5), at(3), at(1));
        let z1 = times(sum(tmp0, tmp3), -7_373);
        let z2 = times(sum(tmp1, tmp2), -20_995);
        let (z3, z4) = (sum(tmp0, tmp2), sum(tmp1, tmp3));
        let z5 = times(sum(z3, z4), 9_633);
        let z3 = sum(times(z3, -16_069), z5);
        let z4 = sum(times(z4, -3_196), z5);
        let tmp0 = sum(times(tmp0, 2_446), sum(z1, z3));
        let tmp1 = sum(times(tmp1, 16_819), sum(z2, z4));
        let tmp2 = sum(times(tmp2, 25_172), sum(z2, z3));
        let tmp3 = sum(times(tmp3, 12_299), sum(z1, z4));

        let descale = |value: i32| {
            let value = sum(value, 1 << (SHIFT - 1)) >> SHIFT;
            value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
        };
        out[0][column] = descale(sum(tmp10, tmp3));
        out[7][column] = descale(difference(tmp10, tmp3));
        out[1][column] = descale(sum(tmp11, tmp2));
        out[6][column] = descale(difference(tmp11, tmp2));
        out[2][column] = descale(sum(tmp12, tmp1));
        out[5][column] = descale(difference(tmp12, tmp1));
        out[3][column] = descale(sum(tmp13, tmp0));
        out[4][column] = descale(difference(tmp13, tmp0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in floating point.
    fn slow(coefficients: &[i16; 64]) -> [[f64; 8]; 8] {
        let basis = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            scale * angle.cos()
        };
        let mut out = [[0.0; 8]; 8];
        for (y, row) in out.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                for (v, u) in (0..64).map(|n| (n / 8, n % 8)) {
                    let weight = basis(y, v) * basis(x, u) / 4.0;
                    *value += f64::from(coefficients[index(v, u)]) * weight;
                }
                *value = (*value + 128.0).clamp(0.0, 255.0);
            }
        }
        out
    }

    /// Coefficients of up to `largest`, which become smaller by their place.
    fn blocks(largest: i32) -> impl Iterator<Item = [i16; 64]> {
        let mut seed = 1_u32;
        std::iter::repeat_with(move || {
            let mut block = [0; 64];
            for n in 0..64 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let range = largest / (1 + n as i32);
                let value = (seed >> 8) as i32 % (2 * range + 1) - range;
                block[index(n / 8, n % 8)] = value as i16;
            }
            block
        })
    }

    #[test]
    fn pixels_are_those_of_the_definition_but_for_rounding() {
        for coefficients in blocks(900).take(200) {
            let (fast, slow) = (portable(&coefficients, 63), slow(&coefficients));
            for (fast, slow) in fast.as_flattened().iter().zip(slow.as_flattened()) {
                assert!((f64::from(*fast) - slow).abs() < 1.1, "{fast} {slow}");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_processor_gives_the_same_pixels() {
        if !std::is_x86_feature_detected!("avx2") {
            return;
        }
        let mut extreme = blocks(i32::from(i16::MAX) * 64);
        let noise = std::iter::repeat_with(|| extreme.next().unwrap()).take(500);
        let edges = [[i16::MIN; 64], [i16::MAX; 64]];
        for block in blocks(900).take(500).chain(noise).chain(edges) {
            let mut fast = [0; 64];
            idct::<true>(&block, 63, &mut fast, 8);
            assert_eq!(fast.as_chunks().0, portable(&block, 63), "{block:?}");
        }
    }

    #[test]
    fn a_block_of_few_coefficients_needs_half_the_transform() {
        let mut coefficients = [0; 64];
        for (n, at) in [0, 1, 8, 16, 9, 2, 3, 10, 17, 24].into_iter().enumerate() {
            coefficients[index(at / 8, at % 8)] = 300 - 61 * n as i16;
            assert_eq!(
                portable(&coefficients, n.max(1)),
                portable(&coefficients, 63)
            );
        }
    }

    #[test]
    fn a_block_of_one_colour_needs_no_transform() {
        for dc in [-1_100, -9, -4, -3, 0, 3, 4, 5, 11, 12, 1_100] {
            let mut coefficients = [0; 64];
            coefficients[0] = dc;
            let mut one = [0; 64];
            idct::<false>(&coefficients, 0, &mut one, 8);
            assert_eq!(one.as_chunks().0, portable(&coefficients, 63), "{dc}");
        }
    }
}
