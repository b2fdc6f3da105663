package pull

// SetReached sets the function that a pull calls at each point where tests kill it.
func (o *Options) SetReached(f func(point string)) { o.reached = f }
