package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Output contains the flags for the output of a command, and writes its results, log and progress.
type Output struct {
	format    string
	logLevel  string
	logFormat string

	Started bool // whether Start has succeeded
	Console *Console
	Log     *zap.Logger
}

// AddFlags adds the flags that every command has.
func (c *Output) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&c.format, "output", "text", "print results to standard output as `text|json`")
	f.StringVar(&c.logLevel, "log-level", "info", "lowest `level` to log: debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "console", "log to standard error as `console|json`")
}

// Start checks the flags, and creates the logger and the console.
func (c *Output) Start(stderr io.Writer) error {
	if c.format != "text" && c.format != "json" {
		return fmt.Errorf("--output %s: must be text or json", c.format)
	}
	level, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return fmt.Errorf("--log-level %s: must be debug, info, warn or error", c.logLevel)
	}
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.RFC3339TimeEncoder
	config.TimeKey = "time"
	config.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	switch c.logFormat {
	case "json":
		encoder = zapcore.NewJSONEncoder(config)
	case "console":
		encoder = zapcore.NewConsoleEncoder(config)
	default:
		return fmt.Errorf("--log-format %s: must be console or json", c.logFormat)
	}
	c.Console = New(stderr)
	c.Log = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(c.Console), level))
	c.Started = true
	return nil
}

// Bytes formats a size for people, such as 1.5 GB.
func Bytes(n int64) string { return humanize.Bytes(uint64(max(0, n))) }

// Print prints a result. With --output json, it prints v as indented JSON. Otherwise it calls text,
// and colors the states if w shows colors.
func (c *Output) Print(w io.Writer, v any, text func(io.Writer) error) error {
	if c.format != "json" {
		if !hasColor(w) {
			return text(w)
		}
		p := &painter{w: w}
		return cmp.Or(text(p), p.flush())
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
