//! Many requests at once from one task: all are started before any is awaited.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Starts all futures in order, then awaits each; outputs in the order of the futures.
///
/// The library queues a frame when its future is first polled, so the frames keep their order. Awaiting one before
/// starting the next would cost a switch to the library's thread and back for each; a general join would wake and poll
/// each on its own.
pub async fn all_in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut steps: Vec<Step<F>> = futures.map(|future| Step::Running(Box::pin(future))).collect();
    poll_fn(|context| {
        for step in &mut steps {
            if let Step::Running(future) = step
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *step = Step::Done(output);
            }
        }
        Poll::Ready(())
    })
    .await;
    let mut outputs = Vec::with_capacity(steps.len());
    for step in steps {
        outputs.push(match step {
            Step::Running(future) => future.await,
            Step::Done(output) => output,
        });
    }
    outputs
}

enum Step<F: Future> {
    Running(Pin<Box<F>>),
    Done(F::Output),
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn all_are_started_before_any_is_awaited_and_outputs_keep_their_order() {
        let started = RefCell::new(Vec::new());
        let futures = (0..5_u64).map(|number| {
            let started = &started;
            async move {
                started.borrow_mut().push(number);
                if number != 3 {
                    tokio::task::yield_now().await;
                    assert_eq!(started.borrow().len(), 5);
                }
                number * 10
            }
        });
        assert_eq!(all_in_order(futures).await, [0, 10, 20, 30, 40]);
        assert_eq!(*started.borrow(), [0, 1, 2, 3, 4]);
    }
}
