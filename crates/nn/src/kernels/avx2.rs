//! The vector operations of AVX2 with FMA.
//!
//! A value of the type proves that the CPU has the instructions, so the intrinsics that
//! only compute are sound wherever one exists.
#![expect(
    unsafe_code,
    reason = "intrinsics are unsafe outside of their own level"
)]

use std::arch::x86_64::*;

use super::product::Product;
use super::simd::{Kernel, Simd};

/// AVX2 and FMA: 16 registers of 8 numbers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Runs a kernel with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Whether the CPU has what [`run_avx2`] needs.
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn product_avx2(simd: Avx2, product: &Product) {
    // SAFETY: the caller's promise is the same.
    unsafe { product.run(simd) }
}

/// Lanes below `count` have their sign bit set.
#[inline(always)]
fn first_lanes(count: usize) -> __m256i {
    const SIGNS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let start = 8 - count.min(8);
    // SAFETY: `start` is at most 8, so 8 numbers follow it; see the module for the level.
    unsafe { _mm256_loadu_si256(SIGNS.as_ptr().add(start).cast()) }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 3;
    type Vector = __m256;
    type Mask = __m256;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn power_of_two(self, n: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe {
            let exponent =
                _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn relu(self, x: __m256) -> __m256 {
        // The instruction returns its second operand if one of them is NaN.
        // SAFETY: `self` proves the level.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), x) }
    }

    #[inline(always)]
    fn greater(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_cmp_ps::<_CMP_GT_OQ>(a, b) }
    }

    #[inline(always)]
    fn greater_or_nan(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe {
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_or_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b), nan)
        }
    }

    #[inline(always)]
    fn equal(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b) }
    }

    #[inline(always)]
    fn select(self, mask: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: `self` proves the level.
        unsafe { _mm256_blendv_ps(no, yes, mask) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller promises the memory, `self` the level.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m256) {
        // SAFETY: the caller promises the memory, `self` the level.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: only the first `count` values are read.
        unsafe { _mm256_maskload_ps(from, first_lanes(count)) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, vector: __m256, count: usize) {
        // SAFETY: only the first `count` values are written.
        unsafe { _mm256_maskstore_ps(to, first_lanes(count), vector) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, count: usize) -> __m256 {
        let mut bytes = [0_u8; 8];
        // SAFETY: the caller promises `count` bytes, and no more than 8 are copied.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count.min(8));
            let bytes = _mm_loadl_epi64(bytes.as_ptr().cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, vector: __m256, count: usize) {
        let mut numbers = [0_i32; 8];
        // SAFETY: `numbers` has room for a vector, `self` proves the level.
        unsafe {
            _mm256_storeu_si256(numbers.as_mut_ptr().cast(), _mm256_cvttps_epi32(vector));
        }
        for (lane, number) in numbers.iter().enumerate().take(count) {
            // SAFETY: the caller promises `count` bytes.
            unsafe { to.add(lane).write(*number as u8) };
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
        // SAFETY: the caller promises 8 rows of 8 values on both sides.
        unsafe {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (row, vector) in rows.iter_mut().enumerate() {
                *vector = _mm256_loadu_ps(from.add(row * from_row));
            }
            // Pairs, then fours, then halves change places.
            let mut fours = [_mm256_setzero_ps(); 8];
            for half in [0, 4] {
                let [a, b, c, d] =
                    [rows[half], rows[half + 1], rows[half + 2], rows[half + 3]];
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                fours[half] = _mm256_shuffle_ps::<0x44>(ab, cd);
                fours[half + 1] = _mm256_shuffle_ps::<0xee>(ab, cd);
                let (ab, cd) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                fours[half + 2] = _mm256_shuffle_ps::<0x44>(ab, cd);
                fours[half + 3] = _mm256_shuffle_ps::<0xee>(ab, cd);
            }
            for row in 0..4 {
                let (top, bottom) = (fours[row], fours[row + 4]);
                let low = _mm256_permute2f128_ps::<0x20>(top, bottom);
                _mm256_storeu_ps(to.add(row * to_row), low);
                let high = _mm256_permute2f128_ps::<0x31>(top, bottom);
                _mm256_storeu_ps(to.add((row + 4) * to_row), high);
            }
        }
    }

    #[inline(always)]
    unsafe fn product(self, product: &Product) {
        // SAFETY: the caller's promise is the same, `self` proves the level.
        unsafe { product_avx2(self, product) }
    }
}
