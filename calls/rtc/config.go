package rtc

// Config holds the settings of browsers' calls.
type Config struct{}
