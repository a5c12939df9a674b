package trace

import (
	"bufio"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"time"
)

// WritePCAP writes the call's messages and packets in the order they came, as
// UDP over IP, in the format of libpcap with nanoseconds and LINKTYPE_RAW
// (draft-ietf-opsawg-pcap). Packets of which the header alone was kept are cut
// there and have their own length.
func (c *Call) WritePCAP(w io.Writer) error {
	var frames []frame
	c.mu.Lock()
	host := hostAddr(c.host)
	for i := range c.messages {
		m := &c.messages[i]
		frames = append(frames, newFrame(m.At, m.Sent, named(m.Local, host), m.Remote, []byte(m.Text), len(m.Text)))
	}
	c.ring.each(func(p packet) {
		f := &c.flows[p.flow]
		frames = append(frames, newFrame(p.at, f.Sent, named(f.Local, host), f.Remote, slices.Clone(p.bytes), p.length))
	})
	c.mu.Unlock()
	slices.SortStableFunc(frames, func(a, b frame) int { return a.at.Compare(b.at) })

	out := bufio.NewWriter(w)
	const snapLen = 65535
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d) // times in nanoseconds
	head = binary.LittleEndian.AppendUint16(head, 2)          // version 2.4
	head = binary.LittleEndian.AppendUint16(head, 4)          //
	head = binary.LittleEndian.AppendUint64(head, 0)          // reserved
	head = binary.LittleEndian.AppendUint32(head, snapLen)    //
	head = binary.LittleEndian.AppendUint32(head, 101)        // LINKTYPE_RAW
	_, _ = out.Write(head)                                    // Flush tells
	for i := range frames {
		_, _ = out.Write(frames[i].encode())
	}
	return out.Flush()
}

// frame is one datagram.
type frame struct {
	at       time.Time
	src, dst netip.AddrPort
	data     []byte
	length   int // before it was cut
}

func newFrame(at time.Time, sent bool, local, remote netip.AddrPort, data []byte, length int) frame {
	if sent {
		return frame{at, local, remote, data, length}
	}
	return frame{at, remote, local, data, length}
}

// encode is the frame's record: its header, IP (RFC 791, RFC 8200), UDP (RFC 768).
func (f *frame) encode() []byte {
	const udp = 8
	src, dst := f.src.Addr().Unmap(), f.dst.Addr().Unmap()
	var ip []byte
	if src.Is4() && dst.Is4() {
		ip = binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(min(20+udp+f.length, 65535)))
		ip = append(ip, 0, 0, 0x40, 0, 64, 17, 0, 0)
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	} else {
		ip = binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(min(udp+f.length, 65535)))
		ip = append(ip, 17, 64)
		s, d := src.As16(), dst.As16()
		ip = append(append(ip, s[:]...), d[:]...)
	}
	ip = binary.BigEndian.AppendUint16(ip, f.src.Port())
	ip = binary.BigEndian.AppendUint16(ip, f.dst.Port())
	ip = binary.BigEndian.AppendUint16(ip, uint16(min(udp+f.length, 65535)))
	ip = binary.BigEndian.AppendUint16(ip, 0) // no checksum: the data may be cut
	b := binary.LittleEndian.AppendUint32(nil, uint32(f.at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.at.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(ip)+len(f.data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(ip)+f.length))
	return append(append(b, ip...), f.data...)
}

// checksum is that of an IP header (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// hostAddr is the address to show for sockets that are bound to all.
func hostAddr(host string) netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}) // a name: any address will do
}

func named(a netip.AddrPort, host netip.Addr) netip.AddrPort {
	if a.Addr().IsUnspecified() || !a.IsValid() {
		return netip.AddrPortFrom(host, a.Port())
	}
	return a
}
