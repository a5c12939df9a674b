// Package media makes test clips whose picture and sound can be measured after
// any number of codecs and networks, and measures recordings and streams of them.
//
// A clip is 30 s of 640x360 at 25 frames/s and loops without a seam:
//
//   - The lowest ninth of the picture is a bar code of 20 cells: white, black,
//     the frame number in 16 bits (most significant first), an odd parity bit,
//     white. It survives scaling and heavy compression.
//   - The upper two thirds are white for the first two frames of each second
//     (the flash), else dark grey.
//   - At each full second, at exactly the flash, a beep of 100 ms starts:
//     1000 Hz, but 1500 Hz when the second is a multiple of five. So offsets of
//     sound against picture are told apart within 2.5 s each way.
//   - Under it lies a pilot tone of 412.5 Hz at -26 dBFS. A packet of 20 ms is
//     8.25 periods of it, so one packet lost, repeated or spliced shows as a jump
//     of its phase by 90 degrees.
//
// [Ensure] makes the clips with ffmpeg and keeps them in .cache/media of the
// module; [Measure] reads a file or URL with ffmpeg and reports what a viewer
// would see and hear: frames lost, repeated and going back, the offset of sound
// against picture and its drift, holes, and phase jumps.
package media
