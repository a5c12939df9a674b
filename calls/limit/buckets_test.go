package limit

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuckets(t *testing.T) {
	b, now := New[netip.Addr](1, 3), time.Unix(1e9, 0)
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range 3 {
		if !b.Has(one, now) || !b.Take(one, now) {
			t.Error("the burst is refused")
		}
	}
	if b.Has(one, now) || b.Take(one, now) || !b.Take(two, now) || b.Take(one, now.Add(time.Second/2)) || !b.Take(one, now.Add(2*time.Second)) {
		t.Error("one address is not limited by itself")
	}
	three := netip.MustParseAddr("192.0.2.3")
	for b.Take(three, now.Add(time.Hour)) {
	}
	if b.Take(three, now) || b.Take(three, now.Add(time.Hour)) {
		t.Error("a time before the last one fills the bucket")
	}
	b = New[netip.Addr](1, 3)
	for b.Take(two, now) {
	}
	for i := range 2 * maxBuckets {
		b.Take(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now.Add(2*time.Second))
	}
	if len(b.by) > maxBuckets {
		t.Errorf("%d buckets", len(b.by))
	}
	if !b.Take(two, now.Add(time.Hour)) || len(b.by) > maxBuckets {
		t.Error("full buckets are not forgotten")
	}
}

func TestHost(t *testing.T) {
	for in, want := range map[string]string{"2001:db8::1": "2001:db8::", "192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "fe80::1%eth0": "fe80::"} {
		if got := Host(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
