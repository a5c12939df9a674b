package pipeline

import (
	"context"
	"log/slog"
	"time"

	"lineout/codecs"
	"lineout/media"
)

type Meta struct{ AppKey, SessionID, Login, CallID, Provider string }
type HubConfig struct {
	Codecs       *codecs.Table
	Log          *slog.Logger
	FlushTimeout time.Duration
}
type Hub struct{}

func NewHub(c HubConfig) *Hub                              { panic("") }
func (h *Hub) Run(ctx context.Context) error               { panic("") }
func (h *Hub) Create(name string, m Meta) (*Stream, error) { panic("") }
func (h *Hub) Get(name string) *Stream                     { panic("") }
func (h *Hub) ByID(id string) *Stream                      { panic("") }
func (h *Hub) List() []*Stream                             { panic("") }
func (h *Hub) OnCreate(func(*Stream))                      { panic("") }

type Stream struct{}

func (s *Stream) Name() string                                                  { panic("") }
func (s *Stream) ID() string                                                    { panic("") }
func (s *Stream) Meta() Meta                                                    { panic("") }
func (s *Stream) Created() time.Time                                            { panic("") }
func (s *Stream) AddTrack(t *media.Track)                                       { panic("") }
func (s *Stream) SetReady()                                                     { panic("") }
func (s *Stream) Ready() <-chan struct{}                                        { panic("") }
func (s *Stream) Tracks() []*media.Track                                        { panic("") }
func (s *Stream) Track(k media.Kind) *media.Track                               { panic("") }
func (s *Stream) Write(f *media.Frame)                                          { panic("") }
func (s *Stream) Attach(label string, sink Sink, p Policy) (*Attachment, error) { panic("") }
func (s *Stream) Close(reason string)                                           { panic("") }
func (s *Stream) Closing() <-chan struct{}                                      { panic("") }
func (s *Stream) Reason() string                                                { panic("") }
func (s *Stream) Done() <-chan struct{}                                         { panic("") }

type Attachment struct{}
type AttachmentStats struct {
	Frames, Bytes, Dropped, Retries uint64
	QueueFrames, QueueBytes         int
	QueueDelay                      time.Duration
}

func (a *Attachment) Label() string                    { panic("") }
func (a *Attachment) State() State                     { panic("") }
func (a *Attachment) Err() error                       { panic("") }
func (a *Attachment) Stats() AttachmentStats           { panic("") }
func (a *Attachment) Detach(ctx context.Context) error { panic("") }
func (a *Attachment) Done() <-chan struct{}            { panic("") }
