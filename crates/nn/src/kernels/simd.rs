//! One small set of vector operations that all kernels are written in, and its plain form.
//!
//! A kernel is a function that is generic over [`Simd`]. [`dispatch`] compiles it once per
//! CPU feature level and calls the best one that this machine has. The value of a `Simd`
//! type is the proof that the machine has the level's instructions, which is why only
//! `dispatch` makes one.
#![expect(
    unsafe_code,
    reason = "vectors are read and written through raw pointers"
)]

use super::product::Product;

/// The vector operations of one CPU feature level.
///
/// All operations on values are safe, those on memory are not: pointers need no alignment
/// but must be valid for as many values as the operation's documentation says.
pub(crate) trait Simd: Copy {
    /// The number of values in a vector: 8 or 16.
    const LANES: usize;
    /// The rows of the largest tile of a matrix product that stays in registers.
    const TILE_ROWS: usize;
    /// The vectors in each row of such a tile.
    const TILE_VECTORS: usize;
    /// A vector of `LANES` values.
    type Vector: Copy;
    /// A choice for each lane.
    type Mask: Copy;

    /// The same value in all lanes.
    fn splat(self, value: f32) -> Self::Vector;
    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 2 to the power of whole numbers from -126 to 127.
    fn power_of_two(self, n: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the CPU can.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `x`, or zero where it is negative. NaN stays NaN.
    fn relu(self, x: Self::Vector) -> Self::Vector;
    /// Where `a > b`; never for NaN.
    fn greater(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// Where `a > b` or `a` is NaN.
    fn greater_or_nan(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// Where `a == b`.
    fn equal(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// `yes` where the mask is set and `no` elsewhere.
    fn select(
        self,
        mask: Self::Mask,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;

    /// Reads `LANES` values.
    ///
    /// # Safety
    ///
    /// `LANES` values must be readable at `from`.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Writes `LANES` values.
    ///
    /// # Safety
    ///
    /// `LANES` values must be writable at `to`.
    unsafe fn store(self, to: *mut f32, vector: Self::Vector);
    /// Reads the first `count` values, at most `LANES`; the other lanes are zero.
    ///
    /// # Safety
    ///
    /// `count` values must be readable at `from`.
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::Vector;
    /// Writes the first `count` values, at most `LANES`.
    ///
    /// # Safety
    ///
    /// `count` values must be writable at `to`.
    unsafe fn store_part(self, to: *mut f32, vector: Self::Vector, count: usize);
    /// Reads `count` bytes as numbers; the other lanes are zero.
    ///
    /// # Safety
    ///
    /// `count` bytes, at most `LANES`, must be readable at `from`.
    unsafe fn load_bytes(self, from: *const u8, count: usize) -> Self::Vector;
    /// Writes the first `count` lanes, whole numbers from 0 to 255, as bytes.
    ///
    /// # Safety
    ///
    /// `count` bytes, at most `LANES`, must be writable at `to`.
    unsafe fn store_bytes(self, to: *mut u8, vector: Self::Vector, count: usize);
    /// Exchanges rows and columns of a square of `LANES` rows. `from_row` and `to_row` are the
    /// distances, in values, from one row of the square to the next.
    ///
    /// # Safety
    ///
    /// `LANES` values must be readable in each of the rows at `from`, and writable in each of
    /// those at `to`.
    unsafe fn transpose(
        self,
        from: *const f32,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    );

    /// [`Product::run`], compiled once for each level and not for each kernel.
    ///
    /// # Safety
    ///
    /// That of [`Product::run`].
    unsafe fn product(self, product: &Product);
}

/// A computation that is written once over [`Simd`] and compiled for each CPU level.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// Computes. It and all it calls must be `#[inline(always)]`, because a function
    /// that is not inlined is compiled without the level's instructions.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Eight numbers in plain Rust, which the compiler turns into what the CPU has (NEON).
#[derive(Clone, Copy)]
pub(crate) struct Portable(());

impl Portable {
    /// Needs no instructions that are not always there.
    pub(super) fn new() -> Self {
        Self(())
    }
}

const WIDTH: usize = 8;

#[inline(always)]
fn each(function: impl Fn(usize) -> f32) -> [f32; WIDTH] {
    let mut result = [0.0; WIDTH];
    for (lane, value) in result.iter_mut().enumerate() {
        *value = function(lane);
    }
    result
}

#[inline(always)]
fn test(function: impl Fn(usize) -> bool) -> [bool; WIDTH] {
    let mut result = [false; WIDTH];
    for (lane, value) in result.iter_mut().enumerate() {
        *value = function(lane);
    }
    result
}

impl Simd for Portable {
    const LANES: usize = WIDTH;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 1;
    type Vector = [f32; WIDTH];
    type Mask = [bool; WIDTH];

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; WIDTH]
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each(|lane| a[lane] / b[lane])
    }

    #[inline(always)]
    fn power_of_two(self, n: Self::Vector) -> Self::Vector {
        each(|lane| f32::from_bits(((n[lane] as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // Without the instruction `mul_add` is a slow function of the system's library.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            each(|lane| a[lane].mul_add(b[lane], c[lane]))
        } else {
            each(|lane| a[lane] * b[lane] + c[lane])
        }
    }

    #[inline(always)]
    fn relu(self, x: Self::Vector) -> Self::Vector {
        each(|lane| if x[lane] < 0.0 { 0.0 } else { x[lane] })
    }

    #[inline(always)]
    fn greater(self, a: Self::Vector, b: Self::Vector) -> Self::Mask {
        test(|lane| a[lane] > b[lane])
    }

    #[inline(always)]
    fn greater_or_nan(self, a: Self::Vector, b: Self::Vector) -> Self::Mask {
        test(|lane| a[lane] > b[lane] || a[lane].is_nan())
    }

    #[inline(always)]
    fn equal(self, a: Self::Vector, b: Self::Vector) -> Self::Mask {
        test(|lane| a[lane] == b[lane])
    }

    #[inline(always)]
    fn select(
        self,
        mask: Self::Mask,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        each(|lane| if mask[lane] { yes[lane] } else { no[lane] })
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller promises that LANES values can be read.
        unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: Self::Vector) {
        // SAFETY: the caller promises that LANES values can be written.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::Vector {
        let mut vector = [0.0; WIDTH];
        for (lane, value) in vector.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises that `count` values can be read.
            *value = unsafe { from.add(lane).read() };
        }
        vector
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, vector: Self::Vector, count: usize) {
        for (lane, value) in vector.iter().enumerate().take(count) {
            // SAFETY: the caller promises that `count` values can be written.
            unsafe { to.add(lane).write(*value) };
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, count: usize) -> Self::Vector {
        let mut vector = [0.0; WIDTH];
        for (lane, value) in vector.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises that `count` bytes can be read.
            *value = f32::from(unsafe { from.add(lane).read() });
        }
        vector
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, vector: Self::Vector, count: usize) {
        for (lane, value) in vector.iter().enumerate().take(count) {
            // SAFETY: the caller promises that `count` bytes can be written.
            unsafe { to.add(lane).write(*value as u8) };
        }
    }

    #[inline(always)]
    unsafe fn transpose(
        self,
        from: *const f32,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    ) {
        for row in 0..WIDTH {
            for column in 0..WIDTH {
                // SAFETY: the caller promises both squares.
                unsafe {
                    *to.add(column * to_row + row) = *from.add(row * from_row + column);
                }
            }
        }
    }

    unsafe fn product(self, product: &Product) {
        // SAFETY: the caller's promise is the same.
        unsafe { product.run(self) }
    }
}
