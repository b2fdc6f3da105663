package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// common is what every command has: its output and its log.
type common struct {
	output    string
	logLevel  string
	logFormat string

	started bool // past the parsing of the command line
	console *console
	log     *zap.Logger
}

func (c *common) flags(f *pflag.FlagSet) {
	f.StringVar(&c.output, "output", "text", "results on standard output as `text|json`")
	f.StringVar(&c.logLevel, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "console", "log on standard error as `console|json`")
}

// start checks the flags and makes the logger.
func (c *common) start(stderr io.Writer) error {
	if c.output != "text" && c.output != "json" {
		return fmt.Errorf("--output %s: text or json", c.output)
	}
	level, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return fmt.Errorf("--log-level %s: debug, info, warn or error", c.logLevel)
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
		return fmt.Errorf("--log-format %s: console or json", c.logFormat)
	}
	c.console = &console{w: stderr}
	c.log = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(c.console), level))
	c.started = true
	return nil
}

// printJSON writes v as a JSON document, indented.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
