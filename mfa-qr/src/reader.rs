//! The decoder that the tests read our drawings with, a foreign one. For tests of other crates too.

/// What a picture says; pixels are given by `dark(x, y)`.
pub fn decode(wide: usize, high: usize, dark: impl Fn(usize, usize) -> bool) -> Option<String> {
    const ZOOM: usize = 4;
    let shade = |x: usize, y: usize| if dark(x / ZOOM, y / ZOOM) { 0 } else { 255 };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(wide * ZOOM, high * ZOOM, shade);
    let grids = image.detect_grids();
    grids.first()?.decode().ok().map(|(_, text)| text)
}
