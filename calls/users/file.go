package users

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// lookEvery is how often the file is looked at.
const lookEvery = 2 * time.Second

// read reads the users file.
func (d *Directory) read() (map[string]string, error) {
	fault := func(err error) (map[string]string, error) {
		return nil, fmt.Errorf("users_file %s cannot be used: %w", d.cfg.File, err)
	}
	f, err := os.Open(d.cfg.File)
	if err != nil {
		return fault(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fault(err)
	}
	if len(b) > maxFile {
		return fault(fmt.Errorf("it has more than %d bytes", maxFile))
	}
	found, err := parseFile(string(b))
	if err != nil {
		return fault(err)
	}
	return found, nil
}

// stamp is what changes when the file does.
type stamp struct {
	at   time.Time
	size int64
}

func (d *Directory) stamp() stamp {
	i, err := os.Stat(d.cfg.File)
	if err != nil {
		return stamp{}
	}
	return stamp{i.ModTime(), i.Size()}
}

// Run reads the file again when it changes, until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	if d.cfg.File == "" {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var seen stamp // so that a change between New and Run is not missed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := d.stamp()
		if now == seen {
			continue
		}
		first := seen == stamp{}
		seen = now
		found, err := d.read()
		if err != nil {
			d.log.Error("users stay as they are", "error", err)
			continue
		}
		d.use(found)
		if !first {
			d.log.Info("users are read again", "file", d.cfg.File, "accounts", len(*d.all.Load()))
		}
	}
}
