package h264

import (
	"fmt"

	"lineout/media"
)

// Black makes black pictures (Y 16, Cb and Cr 128) without an encoder, in
// Constrained Baseline: a key frame of one slice, and pictures in which every
// macroblock is skipped. For one goroutine.
type Black struct {
	params *media.Params
	mbs    int  // macroblocks of a picture
	wide   int  // macroblocks in a row
	number uint // frame_num of the next picture
	idr    uint // idr_pic_id of the next key frame
}

// MaxBlackSide bounds width and height in pixels, maxBlackMBs the macroblocks
// of a picture, which no level allows more of (table A-1).
const (
	MaxBlackSide = 4096
	maxBlackMBs  = 36864
)

// Sequence and picture parameters that the slices below rely on.
const (
	frameNumBits = 4
	// blackQP with blackLevel makes the first macroblock exactly 112 darker
	// than the 128 that is predicted where there are no neighbours: a DC level
	// is worth 512 there, and 64 is one step of brightness (H.264 8.5.10,
	// 8.5.12).
	blackQP    = 46
	blackLevel = 14
)

// NewBlack makes black pictures of a size in pixels, both sides even, 2 to
// MaxBlackSide.
func NewBlack(width, height int) (*Black, error) {
	for _, side := range []int{width, height} {
		if side < 2 || side > MaxBlackSide || side%2 != 0 {
			return nil, fmt.Errorf("a picture of %dx%d cannot be made: both sides must be even, from 2 to %d", width, height, MaxBlackSide)
		}
	}
	wide, high := (width+15)/16, (height+15)/16
	if wide*high > maxBlackMBs {
		return nil, fmt.Errorf("a picture of %dx%d cannot be made: it has more than %d macroblocks", width, height, maxBlackMBs)
	}
	b := &Black{mbs: wide * high, wide: wide}
	sets := [][]byte{blackSPS(width, height, wide, high), blackPPS()}
	b.params = params(nil, sets)
	if b.params == nil {
		return nil, fmt.Errorf("the parameters of a black picture of %dx%d cannot be read back", width, height)
	}
	return b, nil
}

// Params are the parameters of all its pictures.
func (b *Black) Params() *media.Params { return b.params }

// Key returns a key frame, with its parameter sets in front. The caller may
// keep it.
func (b *Black) Key() [][]byte {
	var w bitWriter
	w.ue(0) // first_mb_in_slice
	w.ue(7) // slice_type: I, as all of the picture
	w.ue(0) // pic_parameter_set_id
	w.u(0, frameNumBits)
	w.ue(b.idr)
	w.u(0, 2) // no_output_of_prior_pics_flag, long_term_reference_flag
	w.sliceEnd()
	for i := range b.mbs {
		w.blackMacroblock(i, b.wide)
	}
	b.number, b.idr = 1, b.idr^1 // two key frames in a row must differ (7.4.3)
	return append(append(make([][]byte, 0, 3), b.params.Sets...), w.nal(3<<5|nalIDR))
}

// Same returns a picture that repeats the one before it.
func (b *Black) Same() [][]byte {
	var w bitWriter
	w.ue(0) // first_mb_in_slice
	w.ue(5) // slice_type: P, as all of the picture
	w.ue(0) // pic_parameter_set_id
	w.u(b.number, frameNumBits)
	w.u(0, 3) // no override of the reference count, no reordering, sliding window
	w.sliceEnd()
	w.ue(uint(b.mbs)) // mb_skip_run
	b.number = (b.number + 1) % (1 << frameNumBits)
	return [][]byte{w.nal(2<<5 | nalSlice)}
}

// sliceEnd writes the end of a slice header.
func (w *bitWriter) sliceEnd() {
	w.se(blackQP - 26) // slice_qp_delta
	w.ue(1)            // disable_deblocking_filter_idc: nothing to smooth
}

// blackMacroblock writes an Intra_16x16 macroblock: the first one carries the
// colour, the others are predicted from it, rightwards in the first row and
// downwards below it, and have no residual (7.3.5, 9.2).
func (w *bitWriter) blackMacroblock(i, wide int) {
	switch {
	case i == 0:
		w.ue(3) // mb_type I_16x16_2_0_0: DC
	case i < wide:
		w.ue(2) // I_16x16_1_0_0: horizontal
	default:
		w.ue(1) // I_16x16_0_0_0: vertical
	}
	w.ue(0) // intra_chroma_pred_mode: DC, 128 throughout
	w.se(0) // mb_qp_delta
	if i > 0 {
		w.u(1, 1) // coeff_token: no coefficient
		return
	}
	w.u(0b000101, 6) // coeff_token: one coefficient, larger than 1
	// Its level_code is 2*14-1-2 = 25, in the escape of prefix 14 with 4 bits (9.2.2.1).
	w.u(1, 15)
	w.u(2*blackLevel-3-14, 4)
	w.u(1, 1) // total_zeros: 0
}

// blackSPS is a sequence parameter set (7.3.2.1.1).
func blackSPS(width, height, wide, high int) []byte {
	var w bitWriter
	w.u(66, 8)   // profile_idc: Baseline
	w.u(0xc0, 8) // constraint_set0 and 1: Constrained Baseline
	w.u(level(wide*high), 8)
	w.ue(0) // seq_parameter_set_id
	w.ue(frameNumBits - 4)
	w.ue(2) // pic_order_cnt_type: decoded as shown
	w.ue(1) // max_num_ref_frames
	w.u(0, 1)
	w.ue(uint(wide - 1))
	w.ue(uint(high - 1))
	w.u(0b11, 2) // frame_mbs_only_flag, direct_8x8_inference_flag
	right, bottom := (wide*16-width)/2, (high*16-height)/2
	if right > 0 || bottom > 0 {
		w.u(1, 1)
		for _, crop := range []int{0, right, 0, bottom} {
			w.ue(uint(crop))
		}
	} else {
		w.u(0, 1)
	}
	w.u(0, 1) // vui_parameters_present_flag
	return w.nal(3<<5 | nalSPS)
}

// blackPPS is a picture parameter set (7.3.2.2): CAVLC, one reference.
func blackPPS() []byte {
	var w bitWriter
	w.ue(0)   // pic_parameter_set_id
	w.ue(0)   // seq_parameter_set_id
	w.u(0, 2) // CAVLC, no field order
	w.ue(0)   // num_slice_groups_minus1
	w.ue(0)   // num_ref_idx_l0_default_active_minus1
	w.ue(0)
	w.u(0, 3) // no weighted prediction
	for range 3 {
		w.se(0) // pic_init_qp_minus26, pic_init_qs_minus26, chroma_qp_index_offset
	}
	w.u(0b100, 3) // deblocking_filter_control_present_flag
	return w.nal(3<<5 | nalPPS)
}

// level is a level_idc that is enough for a picture of so many macroblocks at up to
// 30 pictures per second (table A-1).
func level(mbs int) uint {
	switch {
	case mbs <= 396:
		return 20
	case mbs <= 1620:
		return 31
	case mbs <= 3600:
		return 32
	case mbs <= 8192:
		return 42
	case mbs <= 22080:
		return 51
	}
	return 52
}
