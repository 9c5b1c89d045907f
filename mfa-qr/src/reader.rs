//! The decoder with which the tests read our drawings. It is not ours. Tests of other crates use it too.

/// The text in a picture; `dark(x, y)` gives its pixels.
pub fn decode(wide: usize, high: usize, dark: impl Fn(usize, usize) -> bool) -> Option<String> {
    const ZOOM: usize = 4;
    let shade = |x: usize, y: usize| if dark(x / ZOOM, y / ZOOM) { 0 } else { 255 };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(wide * ZOOM, high * ZOOM, shade);
    let grids = image.detect_grids();
    grids.first()?.decode().ok().map(|(_, text)| text)
}
