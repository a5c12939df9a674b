package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lineout/calls/leg"
)

// bookkeeper is a registrar that answers as the test says and notes when it was
// asked, in seconds from the start.
type bookkeeper struct {
	mu      sync.Mutex
	began   time.Time
	answer  func() (time.Duration, error)
	asked   []int
	removed []int
}

func (b *bookkeeper) attempt(ctx context.Context) (time.Duration, error) {
	select { // an answer takes a second
	case <-time.After(time.Second):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, int(time.Since(b.began)/time.Second))
	return b.answer()
}

func (b *bookkeeper) alive(context.Context) bool { return true }
func (b *bookkeeper) server() hop                { return hop{} }

func (b *bookkeeper) remove(context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removed = append(b.removed, int(time.Since(b.began)/time.Second))
}

func (b *bookkeeper) say(left time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = func() (time.Duration, error) { return left, err }
}

// history is when it was asked, and when to remove.
func (b *bookkeeper) history() (asked, removed []int) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked), slices.Clone(b.removed)
}

func (b *bookkeeper) check(t *testing.T, asked, removed []int) {
	t.Helper()
	if a, r := b.history(); !slices.Equal(a, asked) || !slices.Equal(r, removed) {
		t.Errorf("asked at %v, want %v; removed at %v, want %v", a, asked, r, removed)
	}
}

// bubble runs f with an agent whose registrations are made by a bookkeeper.
func bubble(t *testing.T, f func(t *testing.T, a *Agent, b *bookkeeper)) {
	t.Parallel()
	cfg := defaults(t)
	synctest.Test(t, func(t *testing.T) {
		a, err := New(cfg, table(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		b := &bookkeeper{began: time.Now()}
		a.newRegistering = func(account, string, time.Duration, []hop, *slog.Logger) registering { return b }
		ctx, stop := context.WithCancel(t.Context())
		a.running, a.serving = ctx, ctx
		f(t, a, b)
		stop()
		a.work.Wait()
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.regs) > 0 {
			t.Errorf("%d registrations are left", len(a.regs))
		}
	})
}

var alice = leg.Request{Login: "alice", Password: "secret", Domain: "pbx.example"}

// diary notes what a session is told.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(x leg.Registration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%v %d %s", x.Registered, x.Code, x.Error))
}

func (d *diary) check(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("told %q, want %q", d.lines, want)
	}
}

// TestSessionsShareABinding: one REGISTER for all of an account, refreshed
// before it ends, taken away after the last.
func TestSessionsShareABinding(t *testing.T) {
	bubble(t, func(t *testing.T, a *Agent, b *bookkeeper) {
		b.say(100*time.Second, nil)
		var one, two diary
		name, leaveOne, err := a.Register(t.Context(), alice, one.note)
		if err != nil || name != "alice@pbx.example" {
			t.Fatal(name, err)
		}
		one.check(t, "true 0 ")
		time.Sleep(49 * time.Second)
		_, leaveTwo, err := a.Register(t.Context(), alice, two.note)
		if err != nil {
			t.Fatal(err)
		}
		two.check(t, "true 0 ")
		if r := a.Registrations(); len(r) != 1 || !r[0].Registered || r[0].Standing {
			t.Errorf("%+v", r)
		}
		time.Sleep(100 * time.Second)
		leaveOne()
		leaveOne()
		time.Sleep(49*time.Second + time.Second/2)
		b.check(t, []int{1, 92, 183}, nil)
		leaveTwo()
		b.check(t, []int{1, 92, 183}, []int{199})
		one.check(t, "true 0 ")
		two.check(t, "true 0 ")
	})
}

// TestRefusals: the first one is an error; later ones, which come again and
// again with growing waits, are told once. Another password is another binding.
func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, a *Agent, b *bookkeeper) {
		b.say(0, &refusedError{403, "no"})
		var d, late diary
		if _, _, err := a.Register(t.Context(), alice, d.note); err == nil || err.Error() != "no" {
			t.Error(err)
		}
		d.check(t, "false 403 no")
		b.check(t, []int{1}, []int{1})

		b.say(100*time.Second, nil)
		_, leave, err := a.Register(t.Context(), alice, d.note)
		if err != nil {
			t.Fatal(err)
		}
		other := alice
		other.Password = "Secret"
		name, leaveOther, err := a.Register(t.Context(), other, nil)
		if err != nil || name != "alice@pbx.example;2" || len(a.Registrations()) != 2 {
			t.Errorf("%s: %v, %+v", name, err, a.Registrations())
		}
		leaveOther()
		b.say(0, &refusedError{403, "no"})
		time.Sleep(10 * time.Minute)
		d.check(t, "false 403 no", "true 0 ", "true 403 no", "false 403 no")
		b.check(t, []int{1, 2, 3, 93, 124, 185, 306, 547}, []int{1, 3})
		if _, _, err := a.Register(t.Context(), alice, late.note); err == nil { // tries at once
			t.Error("a session is told that it is registered")
		}
		b.say(time.Hour, nil)
		_, leaveLate, err := a.Register(t.Context(), alice, late.note)
		if err != nil {
			t.Error(err)
		}
		b.check(t, []int{1, 2, 3, 93, 124, 185, 306, 547, 604, 605}, []int{1, 3})
		d.check(t, "false 403 no", "true 0 ", "true 403 no", "false 403 no", "true 0 ")
		late.check(t, "false 403 no", "true 0 ")
		leave()
		leaveLate()
	})
}

// TestBindingThatLapses: while the registrar is silent the binding holds to its
// end, and that is told.
func TestBindingThatLapses(t *testing.T) {
	bubble(t, func(t *testing.T, a *Agent, b *bookkeeper) {
		b.say(60*time.Second, nil)
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		if _, _, err := a.Register(ctx, alice, d.note); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.say(0, errors.New("silence"))
		time.Sleep(56 * time.Second) // 58
		d.check(t, "true 0 ", "true 0 silence")
		time.Sleep(4 * time.Second) // 62
		d.check(t, "true 0 ", "true 0 silence", "false 0 silence")
		b.say(60*time.Second, nil)
		time.Sleep(time.Minute)
		d.check(t, "true 0 ", "true 0 silence", "false 0 silence", "true 0 ")
		cancel() // is a release
		b.check(t, []int{1, 56, 87}, []int{122})
	})
}

// TestCallsWaitForTheirRegistration: a call takes part in the attempt that is
// under way, and hurries one that is not.
func TestCallsWaitForTheirRegistration(t *testing.T) {
	bubble(t, func(t *testing.T, a *Agent, b *bookkeeper) {
		b.say(0, &refusedError{503, "busy"})
		p, err := newParty(leg.Request{CallID: "x", Callee: "bob", Login: "alice", Password: "secret", Domain: "pbx.example"}, &a.cfg)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // its attempt is the one the call waits for
			if _, _, err := a.Register(t.Context(), alice, nil); err == nil {
				t.Error("registered")
			}
		}()
		_, _, leave, err := a.keep(t.Context(), p.account(), time.Minute, &keeper{standing: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / 2)
		if _, _, err := a.register(t.Context(), p, nil); err == nil || err.Error() != "busy" {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		b.say(time.Hour, nil)
		release, _, err := a.register(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := a.register(t.Context(), p, nil) // needs no REGISTER
		if err != nil {
			t.Error(err)
		}
		b.check(t, []int{1, 12}, nil)
		if r := a.Registrations(); r[0].Calls != 2 {
			t.Errorf("%+v", r)
		}
		leave()
		release()
		b.check(t, []int{1, 12}, nil) // not taken away under a call
		again()
		b.check(t, []int{1, 12}, []int{12})
	})
}

// TestSlowListener gets the newest state, and holds nobody up.
func TestSlowListener(t *testing.T) {
	bubble(t, func(t *testing.T, a *Agent, b *bookkeeper) {
		b.say(60*time.Second, nil)
		var d diary
		hold := make(chan struct{})
		first := true
		_, leave, _ := a.Register(t.Context(), alice, func(x leg.Registration) {
			d.note(x)
			if !first {
				<-hold
			}
			first = false
		})
		time.Sleep(10 * time.Second)
		b.say(0, errors.New("one"))
		time.Sleep(time.Minute)
		b.say(0, errors.New("two"))
		time.Sleep(time.Hour)
		b.say(time.Minute, nil)
		time.Sleep(time.Hour)
		d.check(t, "true 0 ", "true 0 one")
		close(hold)
		d.check(t, "true 0 ", "true 0 one", "true 0 ")
		leave()
	})
}
